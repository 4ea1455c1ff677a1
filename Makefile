# The daily commands. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
TEST_PROCESSES ?= $(shell getconf _NPROCESSORS_ONLN)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help up test test-faults check format bench bench-engine bench-isolation bench-webhooks lock clean

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

up: .venv/ready ## Run everything locally: Redis, Postgres + PostgREST, the platform's sandbox, ingress, workers
	@exec wpp up

test: .venv/ready ## Run the tests, a process per core; they start the servers they need (browser tests need Chromium)
	@exec pytest -m "not faults" -n $(TEST_PROCESSES) --dist loadgroup --no-loadscope-reorder $(ARGS)

test-faults: .venv/ready ## Run the fault tests: kill processes and cut connections, about ten minutes
	@exec pytest -m faults $(ARGS)

check: .venv/ready ## Format, lint, types, import layers; words, names, Redis keys, links
	ruff format --check
	ruff check
	mypy
	lint-imports
	pytest -q tests/style tests/shared/redis/test_keys.py

format: .venv/ready ## Let the formatter and the linter mend what they can
	ruff check --fix-only
	ruff format

bench: .venv/ready ## Measure against baselines in the same run
	@for file in bench/[a-z]*.py; do echo "== $$file"; python -m bench.$$(basename $$file .py) || exit 1; done

bench-engine: .venv/ready ## The same for the engine alone, beside stock Dramatiq
	@exec python -m bench.engine

bench-isolation: .venv/ready ## Measure what an organization at its worst costs another, about eight minutes
	@exec python -m bench.isolation $(ARGS)

bench-webhooks: .venv/ready ## The same for webhook events, beside a baseline
	@exec python -m bench.webhooks

lock: ## Resolve the requirements anew, with hashes
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --extra local --extra dev -o requirements/dev.txt
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url -c requirements/dev.txt -o requirements/run.txt

clean: ## Remove the environment, and the local world with all its data
	rm -rf .venv .local

.venv/ready: pyproject.toml requirements/dev.txt requirements/uv.txt
	@command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) here: install Python 3.11 or newer, or say which: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed, say which: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (Debian: apt install python3-venv)."; exit 1; }
	@echo "Making the environment in .venv …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@MAKEFLAGS=-j$$(getconf _NPROCESSORS_ONLN) $(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
