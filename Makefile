# One word each; every target sets up what it needs (docs/install.md). PYTHON=... picks another interpreter,
# BOOTSTRAP=--no-operators goes without a C++ compiler.
CANDIDATES := python3.11 python3.12 python3.13 python3
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c '$(IS_NEW_ENOUGH)' 2>/dev/null && { echo $$p; break; }; done)
RUN := .venv/bin/python

.PHONY: help setup demo test fast lint bench torture

help:
	@echo "make setup   create .venv with everything in it (safe to repeat)"
	@echo "make demo    train a small MetaNet on real pictures, judge it on others"
	@echo "make test    lint and every test"
	@echo "make fast    the tests that take seconds"
	@echo "make lint    ruff, mypy, codespell"
	@echo "make bench   every benchmark"
	@echo "make torture kill a process while it saves checkpoints, 200 times"

setup:
	@if [ -z "$(PYTHON)" ]; then echo "no Python >= 3.11 found; on Debian: apt-get install python3.11 python3.11-venv" >&2; \
	exit 1; fi
	@$(PYTHON) tools/bootstrap.py $(BOOTSTRAP)

# Several threads a process slow the tests' small models down.
test fast: export OMP_NUM_THREADS = 1

demo: setup
	$(RUN) tools/demo.py

test: lint
	$(RUN) -m pytest

fast: setup
	$(RUN) -m pytest -m "not slow"

lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/codespell

bench: setup
	set -e; for script in $$(grep -l __main__ benchmarks/*.py); do $(RUN) -m benchmarks.$$(basename $$script .py); done

torture: setup
	$(RUN) tests/torture.py
