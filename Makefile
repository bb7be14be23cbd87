.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.setup
SEED ?= 1
PARTS ?=
NAMES ?=
# Each test process starts servers of its own, and most of a test is their work: more than four gain little.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: help
help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(SETUP) ## Build .venv from the lock file

$(SETUP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(SETUP)

.PHONY: demo
demo: setup ## Start everything, place 2,000 calls, show what came of them
	@$(BIN)/python -m pipeline.sandbox demo

.PHONY: up
up: setup ## Start everything and stay up until Ctrl-C
	@$(BIN)/python -m pipeline.sandbox up

.PHONY: test
test: setup ## Run all tests
	$(BIN)/python -m pytest $(PARALLEL) --durations 10

.PHONY: unit
unit: setup ## Run the tests that open no socket
	$(BIN)/python -m pytest $(PARALLEL) --disable-socket --allow-unix-socket tests/unit tests/deploy pipeline

.PHONY: mutants
mutants: setup ## Break the code in ways that tests must notice (NAMES="lease fuse")
	@$(BIN)/python -m tests.mutants $(NAMES)

.PHONY: chaos
chaos: setup ## Kill everything at random under 100,000 calls, then balance (SEED="1 2 3")
	$(BIN)/python -m tests.chaos.harness --seed $(SEED) --calls 100000 --kills 100 --rate 700

.PHONY: chaos-feed
chaos-feed: setup ## Kill all that is between the inbox and integrators under 100,000 calls (SEED="1 2 3")
	$(BIN)/python -m tests.chaos.feed --seed $(SEED) --calls 100000 --kills 200

.PHONY: openapi
openapi: setup ## Write docs/openapi.json anew, by the API's code
	$(BIN)/python -m pipeline.api.openapi docs/openapi.json

.PHONY: screenshots
screenshots: setup ## Make docs/images anew, by the browser tests
	CDR_TESTS_NEED_BROWSER=1 CDR_SCREENSHOTS=docs/images $(BIN)/python -m pytest -q tests/functional/test_flower_tabs.py tests/functional/test_flower_calls.py tests/functional/test_flower_accounts.py -k screenshot

.PHONY: bench
bench: setup ## Measure against the alternatives, write docs/performance.md (PARTS="latency million")
	$(BIN)/python -m tests.bench $(PARTS)

.PHONY: check
check: setup ## Format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

.PHONY: audit
audit: ## Compare both lock files with the known vulnerabilities; 75: they cannot be reached
	@.ci/audit

.PHONY: format
format: setup ## Format and mend what can be
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: ## Pin the newest versions the project allows
	uv pip compile pyproject.toml --extra dev --extra sandbox --extra s3 --extra archive --extra build --universal --python-version 3.11 \
		--no-emit-index-url --no-annotate --no-header --generate-hashes --upgrade --quiet --output-file requirements.lock
	uv pip compile pyproject.toml --extra s3 --extra archive --extra build --constraint requirements.lock --universal --python-version 3.11 \
		--no-emit-index-url --no-annotate --no-header --generate-hashes --quiet --output-file deploy/requirements.lock

.PHONY: clean
clean: ## Remove what make built
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis var build *.egg-info
