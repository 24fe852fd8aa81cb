# Everything a person or CI does here. Each target sets up what it needs first; a second setup is instant.
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTHONDONTWRITEBYTECODE
export PYTHON

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# Extra words for pytest, e.g. `make test ARGS="-k retry -x"`.
ARGS ?=
# How many processes share the tests, which wait more than they work; each starts servers of its own. 0 = this one.
PROCESSES ?= 3

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: ## make .venv from the pinned requirements (instant when it is current)
	@sh tools/setup.sh

.PHONY: demo
demo: setup ## start PostgreSQL and the daemon, run one job live to completed, stop everything
	@$(BIN)/strait demo

.PHONY: test
test: setup ## all tests that need only wheels
	@$(PYTEST) tests --ignore=tests/system --ignore=tests/project -n $(PROCESSES) --dist loadscope --no-loadscope-reorder $(ARGS)

.PHONY: test-system
test-system: setup ## tests that need curl, zsh, fish, tmux and a system PostgreSQL
	@$(PYTEST) tests/system $(ARGS)

.PHONY: check
check: setup format-check lint types imports dependencies rules ## format, lint, types, imports, dependencies, licences, the project's own rules

.PHONY: format-check lint types imports dependencies rules
format-check:
	@$(BIN)/ruff format --check --quiet . || { echo "check: run 'make format'" >&2; exit 1; }
lint:
	@$(BIN)/ruff check --quiet .
types:
	@$(BIN)/mypy
imports:
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
dependencies:
	@$(BIN)/deptry --no-ansi .
rules:
	@$(PYTEST) tests/project --quiet $(ARGS)

.PHONY: format
format: setup ## rewrite the sources in the one format, with the safe fixes
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix . || true

.PHONY: bench
bench: setup ## the measurements, each beside its ceiling in the same run
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-peers
bench-peers: setup ## PgQueuer, graphile-worker, Procrastinate and Celery beside Strait, each in its own environment
	@$(BIN)/python -m benchmarks.peers $(ARGS)

.PHONY: bench-reference
bench-reference: setup ## on a quiet machine: measure all that docs/benchmarks.md shows, and make that page
	@$(BIN)/python -m benchmarks --name reference
	@$(BIN)/python -m benchmarks.peers --name reference-peers
	@$(BIN)/python -m benchmarks.profile --name reference-profile
	@$(BIN)/python -m tools.docs

.PHONY: profile
profile: setup ## where the time of a run goes, in the daemon and in PostgreSQL
	@$(BIN)/python -m benchmarks.profile $(ARGS)

.PHONY: docs
docs: setup ## regenerate the generated pages under docs/ and completions/
	@$(BIN)/python -m tools.docs

# How long to go on, round after round with other seeds; 0 is one round.
MINUTES ?= 0
.PHONY: soak
soak: setup ## the long tests at full size, for MINUTES=n or one round, and what they measured
	@$(BIN)/python -m tools.soak --minutes $(MINUTES) $(if $(ARGS),-- $(ARGS))

.PHONY: audit
audit: ## known vulnerabilities in everything pinned; fails when anything was not audited
	@sh tools/audit.sh

.PHONY: lock
lock: ## pin the newest versions that the ranges allow, with hashes
	@sh tools/lock.sh $(ARGS)

.PHONY: clean
clean: ## remove everything that setup and the tools made here
	rm -rf .venv .lock-venv .audit-venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
