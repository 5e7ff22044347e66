# The usual commands. VENV and PYTHON may be set: make demo PYTHON=/opt/python3.12/bin/python3
# verl and TRL have environments of their own beside it; verl a time limit on everything: Ray and vLLM can hang.

VENV ?= .venv
# The first Python 3.11 or 3.12 on the PATH that runs (a version manager's shim may not).
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
VERL_BIN := $(VENV)-verl/bin
HAVE_PYTHON = @test -n "$(PYTHON)" || \
	{ echo "No Python 3.11 or 3.12 found on the PATH: install one, or make PYTHON=/path/to/it" >&2; exit 1; }
# More for Snakemake, for example: make demo ARGS="--config 'matrix={seeds: [0, 1, 2]}'"
ARGS ?=
# Of which configuration: make plan CONFIG=config/paper.yaml; several files, separated by spaces. The demo without.
CONFIG ?=
CONFIGFILES = $(if $(CONFIG),--configfile $(CONFIG))
# Of make resume; CANCEL=1 ends jobs that still run, in place of waiting for them.
PROFILE ?= profiles/slurm
CANCEL ?=
# Of make test: COVER=1 measures which lines of three packages run (pyproject.toml, tool.coverage), in the same run.
COVER ?=
# Of make test, test-browser, test-slurm and test-verl: RERUNS=1 gives a test that fails a second try, and lists it as RERUN.
RERUNS ?=
AGAIN = $(if $(RERUNS),--reruns $(RERUNS) -raR)
# Of make gc: YES=1 removes what it lists.
YES ?=
# One run at a time: each takes all cores by itself.
VERL_DEMO := --profile profiles/local --cores 1 --configfile config/verl_cpu.yaml
VERL_SMALL := --profile profiles/local --cores 1 --configfile config/small.yaml config/small_verl.yaml

.PHONY: help venv demo small findings watch report lock plan profile resume test test-slurm test-browser test-gpu lint types docs wheel gc clean bench-teacher \
	bench-logits bench-step bench-peer bench-generate bench-numerics bench-matrix bench-reporting coverage venv-verl venv-peer demo-verl \
	small-verl test-verl test-verl-full

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

venv: $(VENV)/ready  ## an environment of its own, from envs/local.lock.txt

demo: venv  ## the whole chain on two cores, twelve minutes or so: results/report.html
	$(BIN)/snakemake --profile profiles/local $(CONFIGFILES) $(ARGS)
	$(MAKE) report

small: venv  ## a real pretrained model on two easy tasks, forty minutes on two cores: results/report-small.html
	$(BIN)/snakemake --profile profiles/local --configfile config/small.yaml $(CONFIG) $(ARGS) --
	$(BIN)/snakemake --profile profiles/local --configfile config/small.yaml $(CONFIG) $(ARGS) \
		--report results/report-small.html --

# Seed by seed, so that what there is when it is stopped are whole seeds; the same command goes on.
findings: venv  ## controls on a toy that tells methods apart, an hour or two on two cores: docs/findings, docs/findings.md
	for seed in 0 1 2 3 4 5 6 7 8 9; do $(BIN)/snakemake --profile profiles/local --configfile config/findings.yaml $(ARGS) -- \
		$$($(BIN)/python -m selfdistill.reporting.archive targets $$seed --configfile config/findings.yaml) || exit 1; done
	$(BIN)/python -m selfdistill.reporting.archive pack docs/findings --configfile config/findings.yaml
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/figures/draw_findings.py

watch: venv  ## a live table of all runs, from another terminal or machine, also under Slurm; ARGS=--once prints it once
	@$(BIN)/python -m selfdistill.runs.watch $(ARGS)

report: venv  ## results/report.html from what has been run
	$(BIN)/snakemake --profile profiles/local $(CONFIGFILES) $(ARGS) --report results/report.html

lock: venv  ## hold what CONFIG takes from the hub to commits and hashes: config/hub.lock.yaml
	$(BIN)/snakemake lock --cores 1 $(CONFIGFILES) $(ARGS)

plan: venv  ## jobs, GPU-hours and disk of CONFIG before anything is submitted
	@$(BIN)/python -m selfdistill.planning --snakemake --cores 1 $(CONFIGFILES) $(ARGS)

profile: venv  ## snakemake --profile slurm: links profiles/slurm into the user's Snakemake folder
	$(BIN)/python -m selfdistill.cluster.link_profile profiles/slurm

resume: venv  ## after a killed Snakemake: waits for its Slurm jobs (CANCEL=1 ends them), and goes on with CONFIG
	$(BIN)/python -m selfdistill.cluster.leftovers $(if $(CANCEL),--cancel)
	$(BIN)/snakemake --profile $(PROFILE) $(CONFIGFILES) $(ARGS) --unlock
	$(BIN)/snakemake --profile $(PROFILE) $(CONFIGFILES) $(ARGS)

# Two processes, each with a thread. A file stays in one of them, which builds what its tests share (whole workflows) once;
# files in the order of their names, so that the long ones of tests/integration do not come last.
test: $(VENV)/ready-dev  ## all tests but those of the browser, Slurm and verl; COVER=1 also holds the floor of coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(if $(COVER),--cov) $(AGAIN)

test-browser: $(VENV)/ready-dev  ## report and site in Chromium (Debian's, installed if missing and root; else CHROMIUM=...)
	OMP_NUM_THREADS=1 timeout 3600 $(BIN)/python -m pytest -m browser $(AGAIN) tests/browser

test-slurm: $(VENV)/ready-dev  ## the workflow on a real Slurm of one node (root; Debian's packages, installed if missing)
	OMP_NUM_THREADS=1 timeout --signal=INT --kill-after=60 3600 $(BIN)/python -m pytest -m slurm $(AGAIN) tests/integration/test_slurm.py

test-gpu: $(VENV)/ready-dev  ## what only a GPU can say, in eight minutes (python benchmarks/gpu.py, with neither make nor pytest)
	$(BIN)/python -m pytest -s -m gpu tests/gpu

lint: $(VENV)/ready-dev  ## style, docstrings, spelling, types, snakemake --lint; which part of the library may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/snakefmt --check workflow
	$(BIN)/lint-imports
	$(BIN)/basedpyright
	$(BIN)/snakemake --lint

types: $(VENV)/ready-dev  ## study, methods, objectives and evaluation under the types of Python 3.11, as in make lint, and of 3.12
	$(BIN)/basedpyright
	$(BIN)/basedpyright --pythonversion 3.12

docs: $(VENV)/ready-dev  ## what the documents have from the code, and all of them as a site without network: site/index.html
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

wheel: $(VENV)/ready-dev  ## dist/: the library as a package, tried in a fresh environment, and with verl's where there is one
	rm -rf dist build
	$(BIN)/python -m build --outdir dist
	$(BIN)/python .ci/check_wheel.py dist/*.whl $(wildcard $(VENV)-verl)

venv-verl: $(VENV)-verl/ready  ## verl, Ray and vLLM for CPUs, from envs/verl_cpu.lock.txt

venv-peer: $(VENV)-peer/ready  ## TRL for CPUs, from envs/peer.lock.txt

demo-verl: venv-verl  ## grpo and rlcsd through verl for a few steps: results/report-verl.html
	timeout 3600 $(VERL_BIN)/snakemake $(VERL_DEMO) $(ARGS)
	$(VERL_BIN)/snakemake $(VERL_DEMO) $(ARGS) --report results/report-verl.html

small-verl: venv-verl  ## the small tier's sums through verl, two steps of grpo and rlcsd: results/report-small-verl.html
	timeout 3600 $(VERL_BIN)/snakemake $(VERL_SMALL) $(ARGS) --
	$(VERL_BIN)/snakemake $(VERL_SMALL) $(ARGS) --report results/report-small-verl.html --

# Of the files that hold any: to import the others takes as long as many a test.
test-verl: venv-verl  ## verl's tests
	OMP_NUM_THREADS=1 timeout 3600 $(VERL_BIN)/python -m pytest -m "verl and not verl_full" $(AGAIN) \
		$$(grep -rlw --include='test_*.py' 'mark\.verl' tests | sort)

test-verl-full: venv-verl  ## every method through verl end to end, on one rank; rlcsd on two
	OMP_NUM_THREADS=1 timeout 7200 $(VERL_BIN)/python -m pytest -m verl tests/integration/test_verl.py

bench-teacher: venv  ## scoring under hints: the plain scheme against the plan; up to 4,096 tokens, most of an hour
	$(BIN)/python benchmarks/teacher.py

bench-logits: venv  ## log-probs at a vocabulary of 151,936: all logits at once against chunks
	$(BIN)/python benchmarks/logits.py

bench-step: venv  ## a training step of rlcsd beside one of grpo, in the demo
	$(BIN)/python benchmarks/step.py

bench-peer: venv venv-peer  ## training steps beside TRL's, in turns: GRPO and self-distillation, toy and 135M
	$(BIN)/python benchmarks/peer.py $(ARGS)

bench-generate: venv  ## tokens a second of the own decode loop, transformers and, after make venv-verl, vLLM
	$(BIN)/python benchmarks/generate.py

bench-numerics: venv  ## evidence that numerics alone would give, of CONFIG's models: batch shapes, engines, bfloat16
	$(BIN)/python benchmarks/numerics.py $(if $(CONFIG),--config $(CONFIG))

bench-matrix: venv  ## how planning time grows with the matrix, up to 10,000 jobs
	$(BIN)/python benchmarks/matrix.py

bench-reporting: venv  ## how long tables, figures and pages of the paper's matrix take
	$(BIN)/python benchmarks/reporting.py

coverage: venv  ## coverage of every interval, by simulation: docs/coverage.csv, docs/statistics.md
	$(BIN)/python benchmarks/coverage.py

gc: venv  ## list finished states whose runs have results of other settings; YES=1 removes them
	$(BIN)/python -m selfdistill.runs.clean_states results $(if $(YES),--yes)

clean:  ## remove results, states of runs included
	rm -rf results .snakemake site dist build

$(VENV)/ready: envs/local.lock.txt pyproject.toml
	$(HAVE_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement envs/local.lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/ready-dev: $(VENV)/ready envs/dev.lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement envs/dev.lock.txt
	touch $@

$(VENV)-verl/ready: envs/verl_cpu.lock.txt pyproject.toml
	$(HAVE_PYTHON)
	$(PYTHON) -m venv $(VENV)-verl
	$(VERL_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement envs/verl_cpu.lock.txt
	$(VERL_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)-peer/ready: envs/peer.lock.txt
	$(HAVE_PYTHON)
	$(PYTHON) -m venv $(VENV)-peer
	$(VENV)-peer/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement envs/peer.lock.txt
	touch $@
