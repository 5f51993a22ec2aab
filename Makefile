# Everything runs in .venv, which the first `make` of a fresh machine creates by itself.
# PYTHON names the interpreter that creates it; afterwards .venv's own is used.

PYTHONS := 3.11 3.12 3.13
comma := ,
# The interpreters of a version that start and have the GIL: on PATH, or among pyenv's (whose shims may not start).
pythons = $(foreach p,$(2) $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/$(1).*/bin/python),$(shell $(p) -c \
            'import sys; sys.exit(sys.version_info[:2] != ($(subst .,$(comma),$(1))) or "t" in sys.abiflags)' \
            2>/dev/null && echo $(p)))

PYTHON ?= $(firstword $(foreach v,$(PYTHONS),$(call pythons,$(v),python3)) \
            $(foreach v,$(PYTHONS),$(call pythons,$(v),python$(v))) python3)
VENV := .venv
RUN := $(VENV)/bin/python
# As many processes as there are cores; ARGS="-n 0" runs in this one, for a debugger.
PYTEST := -m pytest -n auto --maxprocesses 8 --dist worksteal

# Python's and pytest's bytecode is kept, whatever the user's shell says: the tests start some hundred processes, each of
# which would compile all of weft, and every test module is rewritten by each process of pytest.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-long test-checked test-pythons check format stubs bench bench-models clean

help:
	@echo "make demo          train three small networks, save one, run it elsewhere (about a minute)"
	@echo "make test          the tests, on all cores"
	@echo "make test-long     the tests that take long, and all others in checked memory"
	@echo "make test-checked  the tests, while each access of a kernel is checked"
	@echo "make test-pythons  the tests on each of Python $(PYTHONS) that is installed"
	@echo "make check         formatting, lint and types"
	@echo "make format        format and fix what can be fixed by itself"
	@echo "make stubs         write what type checkers and editors see of methods and functions"
	@echo "make bench bench-models         Weft against PyTorch, JAX, TensorFlow and NumPy, each in an environment of its own"
	@echo "make clean         remove everything that make made"

demo: $(VENV)/ready-demo
	@$(RUN) -m demo

test: $(VENV)/ready-test
	@$(RUN) $(PYTEST) $(ARGS)

test-long: $(VENV)/ready-test test-checked
	@$(RUN) $(PYTEST) -m long $(ARGS)

# Its code is some times larger, and lies in a cache of its own.
test-checked: $(VENV)/ready-test
	@WEFT_CHECK_MEMORY=1 WEFT_CACHE_DIR=$(CURDIR)/build/checked WEFT_CACHE_LIMIT=4294967296 $(RUN) $(PYTEST) $(ARGS)

# .venv for its own version, .venv-3.x for another; a version that is not installed is skipped, and said.
test-pythons: | $(RUN)
	@$(foreach v,$(PYTHONS),$(MAKE) --no-print-directory test-python-$(v) &&) true

test-python-%:
	@if $(RUN) -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$*")'; then \
		echo "Python $*, in $(VENV):" && $(MAKE) --no-print-directory test; \
	elif [ -n "$(call pythons,$*,python$*)" ]; then \
		echo "Python $*, in .venv-$*:" && \
		$(MAKE) --no-print-directory test VENV=.venv-$* PYTHON="$(firstword $(call pythons,$*,python$*))"; \
	else \
		echo "Python $* is not installed (not as python$* on PATH, not among pyenv's versions): skipped"; \
	fi

check: $(VENV)/ready-dev
	@$(RUN) -m ruff format --check --quiet .
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m mypy
	@$(RUN) -m mypy --strict --config-file= --cache-dir=.mypy_cache/typed tests/typed

format: $(VENV)/ready-dev
	@$(RUN) -m ruff format --quiet .
	@$(RUN) -m ruff check --quiet --fix .

stubs: $(VENV)/ready-test
	@$(RUN) tools/stubs.py

bench: $(VENV)/ready-demo
	@$(RUN) -m benchmarks $(ARGS)

bench-models: $(VENV)/ready-demo
	@$(RUN) -m benchmarks --models $(ARGS)

clean:
	rm -rf .venv .venv-3.* .bench build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests demo benchmarks -name __pycache__ -type d -exec rm -rf {} +

# One stamp for each extra; a change of the dependencies renews it.
$(VENV)/ready-%: pyproject.toml | $(RUN)
	@echo "Installing weft[$*] into $(VENV) (once)"
	@$(RUN) -m pip install -qq --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit("Weft needs one of Python $(PYTHONS): make PYTHON=/path/to/python3" \
		if "%d.%d" % sys.version_info[:2] not in "$(PYTHONS)".split() else 0)'
	@$(PYTHON) -m venv $(VENV)
