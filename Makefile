# SuperVision: `make demo` shows the whole way on the shipped sample, `make test` checks it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup predict-setup demo web test test-slow lint types results-check lock lock-check check bench clean same-python

# Tests and benchmarks on real data look here and skip, saying why, where it is unset.
ifneq ($(SUPERVISION_DATA),)
export SUPERVISION_DATA := $(abspath $(SUPERVISION_DATA))
endif
# dgl would otherwise announce its backend and write a settings file into the home folder.
export DGLBACKEND := pytorch

# make setup PYTHON=python3.11 names the interpreter, VENV=folder another virtual environment.
VENV ?= .venv
export PYTHON
export PYTHON_IN_VENV := $(VENV)/bin/python
# One thread a test worker: two workers on two cores do not get in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(PYTHON_IN_VENV) -m pytest
WORKERS ?= 2

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -ts "$$(printf '\t')"

$(VENV)/.ready-predict: requirements-predict.txt tools/setup.sh | same-python
	@tools/setup.sh requirements-predict.txt $(VENV) && touch $@

$(VENV)/.ready-web: requirements-web.txt requirements-predict.txt tools/setup.sh | same-python
	@tools/setup.sh requirements-web.txt $(VENV) && touch $(VENV)/.ready-predict $@

$(VENV)/.ready: requirements.txt requirements-predict.txt tools/setup.sh | same-python
	@tools/setup.sh requirements.txt $(VENV) && touch $(VENV)/.ready-predict $@

$(VENV)/.ready-dev: $(wildcard requirements*.txt) tools/setup.sh | same-python
	@tools/setup.sh requirements-dev.txt $(VENV) && touch $(VENV)/.ready-predict $(VENV)/.ready $@

same-python:  # where an interpreter is named, the environment is one of its
	@[ -z "$(PYTHON)" ] || tools/setup.sh "" $(VENV)

setup: $(VENV)/.ready  ## install what the whole study needs into .venv
	@echo "ready: $(PYTHON_IN_VENV)"

predict-setup: $(VENV)/.ready-predict  ## install only what predict.py needs into .venv
	@echo "ready: $(PYTHON_IN_VENV) predict.py data/sample/cifs/MgB2-AlB2.cif"

web: $(VENV)/.ready-web  ## the page at http://127.0.0.1:8000: drop a CIF, see the crystal and its Tc
	$(PYTHON_IN_VENV) -m web

demo: $(VENV)/.ready  ## the whole study on the shipped sample, offline, in minutes
	@tools/demo.sh

test: $(VENV)/.ready-dev  ## the tests that take minutes
	$(PYTEST) -q -n $(WORKERS) --dist loadfile -m "not slow"

test-slow: $(VENV)/.ready-dev  ## the long tests
	$(PYTEST) -q -m slow

lint: $(VENV)/.ready-dev  ## ruff: rules and layout
	$(PYTHON_IN_VENV) -m ruff check .
	$(PYTHON_IN_VENV) -m ruff format --check .

types: $(VENV)/.ready-dev  ## mypy
	$(PYTHON_IN_VENV) -m mypy .

results-check: $(VENV)/.ready  ## every number of the README again from the committed predictions (offline, seconds)
	OMP_NUM_THREADS=1 $(PYTHON_IN_VENV) -m comparison.published.check

lock: $(VENV)/.ready-dev  ## requirements files and locks again from pyproject.toml (needs uv and the package index)
	$(PYTHON_IN_VENV) tools/locks.py write

lock-check: $(VENV)/.ready-dev  ## pyproject.toml, requirements files and locks agree (offline, seconds)
	$(PYTHON_IN_VENV) tools/locks.py check

check: lint types lock-check test results-check  ## all that must pass before a change lands

bench: $(VENV)/.ready-dev  ## the benchmarks that take minutes, then the table in docs/performance.md (SUPERVISION_DATA for the real crystals)
	$(PYTHON_IN_VENV) -m benchmarks.all --run

clean:  ## remove what was made (not .venv, data/final, models or results)
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*/*' -prune -exec rm -rf {} +
