# Everything runs in .venv, which the first `make` of a fresh machine creates by itself.
# PYTHON names the interpreter that creates it (3.11 or newer); afterwards .venv's own is used.

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11 python,\
            $(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))) python3)
VENV := .venv
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-long check format bench clean

help:
	@echo "make demo       train three small networks, save one, run it elsewhere (about a minute)"
	@echo "make test       the tests"
	@echo "make test-long  the tests that take long"
	@echo "make check      formatting, lint and types"
	@echo "make format     format and fix what can be fixed by itself"
	@echo "make bench      Weft against PyTorch, JAX and NumPy, each in an environment of its own"
	@echo "make clean      remove everything that make made"

demo: $(VENV)/ready-demo
	@$(RUN) -m demo

test: $(VENV)/ready-test
	@$(RUN) -m pytest $(ARGS)

test-long: $(VENV)/ready-test
	@$(RUN) -m pytest -m long $(ARGS)

check: $(VENV)/ready-dev
	@$(RUN) -m ruff format --check --quiet .
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m mypy

format: $(VENV)/ready-dev
	@$(RUN) -m ruff format --quiet .
	@$(RUN) -m ruff check --quiet --fix .

bench: $(VENV)/ready-demo
	@$(RUN) -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .bench build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests demo benchmarks -name __pycache__ -type d -exec rm -rf {} +

# One stamp for each extra; a change of the dependencies renews it.
$(VENV)/ready-%: pyproject.toml | $(RUN)
	@echo "Installing weft[$*] into $(VENV) (once)"
	@$(RUN) -m pip install -qq --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit("Weft needs Python 3.11 or newer: make PYTHON=/path/to/python3" \
		if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
