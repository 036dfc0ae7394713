# SuperVision: `make demo` shows the whole way on the shipped sample, `make test` checks it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint types results-check check bench clean

# Tests and benchmarks on real data look here and skip, saying why, where it is unset.
ifneq ($(SUPERVISION_DATA),)
export SUPERVISION_DATA := $(abspath $(SUPERVISION_DATA))
endif
# dgl would otherwise announce its backend and write a settings file into the home folder.
export DGLBACKEND := pytorch

PYTHON_IN_VENV := .venv/bin/python
# One thread a test worker: two workers on two cores do not get in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(PYTHON_IN_VENV) -m pytest
WORKERS ?= 2

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -ts "$$(printf '\t')"

.venv/.ready: requirements.txt tools/setup.sh
	@tools/setup.sh requirements.txt && touch $@

.venv/.ready-dev: requirements.txt requirements-dev.txt tools/setup.sh
	@tools/setup.sh requirements-dev.txt && touch .venv/.ready $@

setup: .venv/.ready  ## install what the programs need into .venv
	@echo "ready: .venv/bin/python"

demo: .venv/.ready  ## the whole study on the shipped sample, offline, in minutes
	@tools/demo.sh

test: .venv/.ready-dev  ## the tests that take minutes
	$(PYTEST) -q -n $(WORKERS) --dist loadfile -m "not slow"

test-slow: .venv/.ready-dev  ## the long tests
	$(PYTEST) -q -m slow

lint: .venv/.ready-dev  ## ruff: rules and layout
	$(PYTHON_IN_VENV) -m ruff check .
	$(PYTHON_IN_VENV) -m ruff format --check .

types: .venv/.ready-dev  ## mypy
	$(PYTHON_IN_VENV) -m mypy .

results-check: .venv/.ready  ## every number of the README again from the committed predictions (offline, seconds)
	OMP_NUM_THREADS=1 $(PYTHON_IN_VENV) -m comparison.published.check

check: lint types test results-check  ## all that must pass before a change lands

bench: .venv/.ready-dev  ## every benchmark, one after the other (hours; SUPERVISION_DATA for the real crystals)
	@for file in benchmarks/[a-z]*.py; do name=$$(basename $$file .py); $(PYTHON_IN_VENV) -m benchmarks.$$name || exit 1; done

clean:  ## remove what was made (not .venv, data/final, models or results)
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
