# The daily commands. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
TEST_PROCESSES ?= $(shell getconf _NPROCESSORS_ONLN)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help up docs test test-faults check client format bench bench-engine bench-ingress bench-isolation bench-pipeline bench-recording bench-scale bench-webhooks lock release-archive clean

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

up: .venv/ready site/index.html ## Run everything locally: Redis, Postgres + PostgREST, the platform's sandbox, ingress, workers
	@exec wpp up

docs: site/index.html ## Build the site of the documentation into site/, which the ingress serves at /docs

test: .venv/ready ## Run the tests, a process per core; they start the servers they need (browser tests need Chromium)
	@exec pytest -m "not faults" -n $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder $(ARGS)

test-faults: .venv/ready ## Run the fault tests: kill processes and cut connections, some twenty minutes
	@exec pytest -m faults $(ARGS)

check: .venv/ready ## Format, lint, types, import layers; words, names, Redis keys, links
	ruff format --check
	ruff check
	mypy
	lint-imports
	pytest -q tests/style tests/shared/redis/test_keys.py

client: .venv/ready ## Generate the types of the TypeScript client from the API
	@document=$$(mktemp --suffix .json) && python -m workers.ingress.openapi > $$document && cd clients/typescript && \
		npm ci --silent --ignore-scripts --no-audit --no-fund && npm run --silent generate -- $$document && rm $$document

format: .venv/ready ## Let the formatter and the linter mend what they can
	ruff check --fix-only
	ruff format

bench: .venv/ready ## Measure against baselines in the same run; print one page, and what changed since the last
	@exec python -m bench $(ARGS)

bench-engine: .venv/ready ## The same for the engine alone, beside stock Dramatiq
	@exec python -m bench.engine

bench-ingress: .venv/ready ## Measure accepted messages beside a plain FastAPI route, and what requests cost
	@exec python -m bench.ingress $(ARGS)

bench-isolation: .venv/ready ## Measure what an organization at its worst costs another, about eight minutes
	@exec python -m bench.isolation $(ARGS)

bench-pipeline: .venv/ready ## Measure the life-cycle of messages beside the same job made of stock parts
	@exec python -m bench.pipeline $(ARGS)

bench-recording: .venv/ready ## The same for what the recorder writes, beside a million messages too
	@exec python -m bench.recording $(ARGS)

bench-scale: .venv/ready ## Measure 1, 2 and 4 send processes before a slow platform, beside a model of them
	@exec python -m bench.scale $(ARGS)

bench-webhooks: .venv/ready ## The same for webhook events, beside a baseline
	@exec python -m bench.webhooks

lock: ## Resolve the requirements anew, with hashes
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --extra local --extra docs --extra traces --extra dev -o requirements/dev.txt
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url -c requirements/dev.txt -o requirements/run.txt
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url -c requirements/dev.txt --extra docs -o requirements/docs.txt
	for side in celery taskiq arq; do uv pip compile -q requirements/bench-$$side.in --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url -o requirements/bench-$$side.txt; done
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url -c requirements/dev.txt --extra traces -o requirements/traces.txt

release-archive: ## Keep this commit's sources as the last release, which the tests run beside newer ones
	@rm -f tests/releases/*.tar.xz
	@git archive --format=tar HEAD shared workers Procfile supabase/migrations | xz -9e > tests/releases/$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml).tar.xz

clean: ## Remove the environment, and the local world with all its data
	rm -rf .venv .local site docs/reference

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

site/index.html: $(wildcard docs/*.md docs/*.py docs/*.png shared/settings.py workers/cli/*.py) .venv/ready
	@echo "Building the site of the documentation …"
	@sphinx-build -q -j 2 -b html docs site
