# The usual commands. VENV and PYTHON may be set: make demo PYTHON=/opt/python3.12/bin/python3

VENV ?= .venv
# The first Python 3.11 or 3.12 on the PATH that runs (a version manager's shim may not).
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
# More for Snakemake, for example: make demo ARGS="--config 'matrix={seeds: [0, 1, 2]}'"
ARGS ?=

.PHONY: help venv demo report test lint gc clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

venv: $(VENV)/ready  ## an environment of its own, from envs/local.lock.txt

demo: venv  ## the whole chain on two cores, ten minutes or so: results/report.html
	$(BIN)/snakemake --profile profiles/local $(ARGS)
	$(MAKE) report

report: venv  ## results/report.html from what has been run
	$(BIN)/snakemake --profile profiles/local $(ARGS) --report results/report.html

test: $(VENV)/ready-dev  ## all tests
	$(BIN)/python -m pytest

lint: $(VENV)/ready-dev  ## ruff, snakefmt, snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint

gc: venv  ## remove finished states of settings that no run has any more
	$(BIN)/python -m selfdistill.training.clean_states results

clean:  ## remove results, states of runs included
	rm -rf results .snakemake

$(VENV)/ready: envs/local.lock.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or 3.12 found on the PATH: install one, or make PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --requirement envs/local.lock.txt
	$(BIN)/python -m pip install --no-deps --editable .
	touch $@

$(VENV)/ready-dev: $(VENV)/ready envs/dev.lock.txt
	$(BIN)/python -m pip install --requirement envs/dev.lock.txt
	touch $@
