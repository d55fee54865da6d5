.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin

# The first Python that is new enough; a shim that only says "not installed" is none.
FIND_PYTHON = for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done
FIND_CHROMIUM = command -v chromium || command -v chromium-browser || command -v google-chrome

help: ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: .venv/ready ## Run everything and play one contact through it; DEMO_FLAGS=--exit ends with the story
	@$(BIN)/perennial demo $(DEMO_FLAGS)

test: .venv/ready ## Run the tests; TEST_FLAGS go to pytest
	@if $(FIND_CHROMIUM) >/dev/null; then $(BIN)/pytest -n auto $(TEST_FLAGS); else \
	echo "No Chromium found: the tests marked 'browser' are left out."; \
	$(BIN)/pytest -n auto -m "not browser" $(TEST_FLAGS); fi

chaos: .venv/ready ## Kill everything at random under a load and judge what is left; SEED=n, CHAOS_FLAGS
	@$(BIN)/python -m chaos $(if $(SEED),--seed $(SEED)) $(CHAOS_FLAGS)

contract: .venv/ready ## Hold our requests against the vendors' OpenAPI files in SPECS=DIR; CONTRACT_FLAGS
	@if [ -z "$(SPECS)" ]; then echo "Say where the vendors' OpenAPI files are: make contract SPECS=DIR (docs/contract.md)" >&2; exit 1; fi
	@$(BIN)/python -m contract "$(SPECS)" $(CONTRACT_FLAGS)

check: .venv/ready ## Check format, lint, types, imports, journeys and their pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/perennial journeys lint
	$(BIN)/perennial journeys docs --check

lock: .venv/ready ## Pin the newest versions that requirements*.in allow
	$(BIN)/uv pip compile $(LOCK_FLAGS) --upgrade requirements-dev.in -o requirements-dev.lock
	$(BIN)/uv pip compile $(LOCK_FLAGS) --upgrade -c requirements-dev.lock requirements.in -o requirements.lock

LOCK_FLAGS := --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header

clean: ## Remove what was built, and the data of perennial up
	rm -rf .venv .perennial build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/ready: .venv/locked pyproject.toml $(wildcard */__init__.py)
	@echo "Installing perennial itself"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/locked: requirements-dev.lock
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then echo "Python 3.11 or newer is needed: install it, or name it with PYTHON=..." >&2; exit 1; fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	echo "$$python has no venv module: install it (on Debian: apt-get install python3-venv)" >&2; exit 1; fi; \
	echo "Building .venv with $$("$$python" --version) from requirements-dev.lock: once, a minute or two"; \
	"$$python" -m venv --clear .venv
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

.PHONY: help demo test chaos contract check lock clean
