# The usual commands. VENV and PYTHON may be set: make demo PYTHON=/opt/python3.12/bin/python3
# verl has an environment of its own beside it, and a time limit on everything: Ray and vLLM can hang.

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
# One run at a time: each takes all cores by itself.
VERL_DEMO := --profile profiles/local --cores 1 --configfile config/verl_cpu.yaml

.PHONY: help venv demo report test lint gc clean venv-verl demo-verl test-verl test-verl-full

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

venv: $(VENV)/ready  ## an environment of its own, from envs/local.lock.txt

demo: venv  ## the whole chain on two cores, ten minutes or so: results/report.html
	$(BIN)/snakemake --profile profiles/local $(ARGS)
	$(MAKE) report

report: venv  ## results/report.html from what has been run
	$(BIN)/snakemake --profile profiles/local $(ARGS) --report results/report.html

test: $(VENV)/ready-dev  ## all tests but those of verl
	$(BIN)/python -m pytest

lint: $(VENV)/ready-dev  ## ruff, snakefmt, snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint

venv-verl: $(VENV)-verl/ready  ## verl, Ray and vLLM for CPUs, from envs/verl_cpu.lock.txt

demo-verl: venv-verl  ## grpo and rlcsd through verl for a few steps: results/report-verl.html
	timeout 3600 $(VERL_BIN)/snakemake $(VERL_DEMO) $(ARGS)
	$(VERL_BIN)/snakemake $(VERL_DEMO) $(ARGS) --report results/report-verl.html

test-verl: venv-verl  ## verl's tests
	OMP_NUM_THREADS=1 timeout 1200 $(VERL_BIN)/python -m pytest -m "verl and not verl_full"

test-verl-full: venv-verl  ## every method through verl end to end, on one rank; rlcsd on two
	OMP_NUM_THREADS=1 timeout 7200 $(VERL_BIN)/python -m pytest -m verl tests/integration/test_verl.py

gc: venv  ## remove finished states of settings that no run has any more
	$(BIN)/python -m selfdistill.training.clean_states results

clean:  ## remove results, states of runs included
	rm -rf results .snakemake

$(VENV)/ready: envs/local.lock.txt pyproject.toml
	$(HAVE_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --requirement envs/local.lock.txt
	$(BIN)/python -m pip install --no-deps --editable .
	touch $@

$(VENV)/ready-dev: $(VENV)/ready envs/dev.lock.txt
	$(BIN)/python -m pip install --requirement envs/dev.lock.txt
	touch $@

$(VENV)-verl/ready: envs/verl_cpu.lock.txt pyproject.toml
	$(HAVE_PYTHON)
	$(PYTHON) -m venv $(VENV)-verl
	$(VERL_BIN)/python -m pip install --no-deps --requirement envs/verl_cpu.lock.txt
	$(VERL_BIN)/python -m pip install --no-deps --editable .
	touch $@
