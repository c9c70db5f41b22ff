# `make` lists all targets.
# It needs Python 3.11 or newer, make, and a package index that pip can reach.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The interpreter for .venv; empty: the first one that is new enough.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
# Written last, so that an interrupted installation is repeated. The shell of the recipe
# and its children hold a lock, so a second installation waits for the first one, and
# for processes that an interrupted one left.
INSTALLED := $(VENV)/.installed

.PHONY: help
help: ## List all targets (the default)
	@awk 'BEGIN { FS = ":.*## " } /^[.a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

.PHONY: venv
venv: $(INSTALLED) ## Create .venv with all requirements; the other targets do so by themselves

# The installation compiles what the programs import, for environments in which Python may
# not keep what it compiles: each start of a service would compile everything again.
unexport PYTHONDONTWRITEBYTECODE
$(INSTALLED): requirements/dev.txt pyproject.toml clients/python/pyproject.toml
	@set -eu; \
	python=; \
	for candidate in $(or $(PYTHON),python3.11 python3 python3.12 python3.13); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
		then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Closeout needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi; \
	exec 9< requirements/dev.txt; \
	"$$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'; \
	if ! [ -e $@ ] || ! $(BIN)/python -c '' 2>/dev/null; then \
		echo "Creating $(VENV) with $$("$$python" -V), once; this takes a minute or two."; \
		"$$python" -m venv --clear $(VENV); \
	fi; \
	rm -f $@; \
	pip="$(BIN)/python -m pip --disable-pip-version-check install --quiet"; \
	$$pip --no-compile --require-hashes -r requirements/dev.txt; \
	$$pip --no-deps --no-build-isolation -e clients/python; \
	$$pip --no-deps --no-build-isolation -e .; \
	$(BIN)/closeout --help > /dev/null; \
	$(BIN)/python -c 'import pytest, sender_service.__main__, status_service.__main__'; \
	$(BIN)/python -c 'import aiohttp, jinja2, psycopg, service_runtime.migration_scripts'; \
	$(BIN)/python -c 'import sender_service.server, status_service.server'; \
	touch $@

.PHONY: demo
demo: $(INSTALLED) ## Send a real campaign until it is COMPLETED, then repair a stuck one; KEEP=1 leaves the dashboard running
	@$(BIN)/closeout demo $(if $(KEEP),--keep)

# How many processes share the tests; 0 is for a debugger. Each starts a PostgreSQL. Four keep
# two cores busy: while one waits for a provider, a poll or a deadline, another computes.
WORKERS ?= 4

.PHONY: test
test: $(INSTALLED) ## Run all tests: unit, integration, acceptance
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

.PHONY: node
node: $(INSTALLED) ## Run the Node example against a status service; needs Node and npm
	@cd examples/node && npm ci --no-audit --no-fund --loglevel error
	@$(BIN)/python -m pytest -q tests/acceptance/node_example.py

.PHONY: golden
golden: $(INSTALLED) ## Write the golden files of the command's screens again; read the difference
	@CLOSEOUT_TESTS_RENEW_GOLDEN=1 $(BIN)/python -m pytest -q tests/unit/test_cli_golden.py

.PHONY: screenshots
screenshots: $(INSTALLED) ## Render every screen of the dashboard into docs/screenshots again
	@cd tests && ../$(BIN)/python -m acceptance.screenshots

# Where `make man` writes the manual pages.
MAN ?= build/man/man1

.PHONY: man
man: $(INSTALLED) ## Write a manual page for each command into build/man/man1
	@$(BIN)/closeout man --output $(MAN)

.PHONY: mutants
mutants: $(INSTALLED) ## Put known bugs back one at a time, and check that a test fails for each
	@cd tests && ../$(BIN)/python -m mutants

# How many mutations are tried, chosen by chance; empty: all of them, for days.
SAMPLE ?=
SEED ?= 1
# Packages or modules; empty: all that keep the promises.
ONLY ?=

.PHONY: mutation
mutation: $(INSTALLED) ## Change the modules that keep the promises, and see that a test fails; SAMPLE=300 SEED=1 ONLY=status_service/live for less
	@cd tests && ../$(BIN)/python -m mutation --seed $(SEED) \
		$(if $(SAMPLE),--sample $(SAMPLE)) $(if $(ONLY),--only $(ONLY)) $(if $(AGAIN),--again)

.PHONY: model
model: $(INSTALLED) ## Try all orders of small campaigns with the model checker Spin; needs spin and gcc
	@cd tests && ../$(BIN)/python -m model

.PHONY: soak
soak: $(INSTALLED) ## Kill status services and PostgreSQL under load for 20 minutes, then race campaigns and callers
	@cd tests && ../$(BIN)/python -m soak

.PHONY: lint
lint: $(INSTALLED) ## Check style, types, import contracts, and that the generated code is current
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python clients/python/generate.py --check
	@$(BIN)/buf lint protos
	@$(BIN)/buf breaking protos --against protos/released.binpb

.PHONY: protos
protos: $(INSTALLED) ## Generate the code of the contract, and the blocking clients from the asyncio ones
	@$(BIN)/python clients/python/generate.py

.PHONY: released
released: $(INSTALLED) ## With a release only: make today's contract the one that lint compares with
	@$(BIN)/buf build protos --exclude-source-info -o protos/released.binpb

# The numbers of stored results with which growth is measured; empty: the small ones.
SIZES ?=
# The size of the campaign that goes through both services; empty: 100,000.
MESSAGES ?=
# How many messages the campaigns have that others are beside.
LARGE ?= 10000000

.PHONY: bench
bench: $(INSTALLED) ## Measure this machine against its bare databases; SIZES="100000 10000000" for large campaigns
	@# The variable silences a remark of gRPC in each process; PostgreSQL is that of the tests.
	@GRPC_ENABLE_FORK_SUPPORT=0 PYTHONPATH=tests $(BIN)/python -m benchmarks \
		$(if $(SIZES),--sizes $(SIZES)) $(if $(MESSAGES),--messages $(MESSAGES))

.PHONY: bench-large
bench-large: $(INSTALLED) ## Measure how long others wait while calls about a campaign of 10 million messages run
	@GRPC_ENABLE_FORK_SUPPORT=0 PYTHONPATH=tests $(BIN)/python -m benchmarks.beside_large --rows $(LARGE)

.PHONY: bench-reads
bench-reads: $(INSTALLED) ## Measure what pages and lists cost with 10,000 open campaigns and 10 million results
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.reads

.PHONY: bench-pages
bench-pages: $(INSTALLED) ## Measure what 500 open pages cost the status service
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.dashboards

.PHONY: bench-idle
bench-idle: $(INSTALLED) ## Measure what services use that have nothing to do, beside 10,000 open or ended campaigns
	@GRPC_ENABLE_FORK_SUPPORT=0 PYTHONPATH=tests $(BIN)/python -m benchmarks.idle

.PHONY: bench-kept
bench-kept: $(INSTALLED) ## Measure what failures by code and samples cost a result
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.kept_figures

# Keeps the pins that still fit; `make lock UPGRADE=1` moves all pins.
.PHONY: lock
lock: ## Pin the requirements of both pyproject.toml, with hashes, in requirements/dev.txt
	@set -eu; \
	tools=$$(mktemp -d); \
	trap 'rm -rf "$$tools"' EXIT; \
	$(or $(PYTHON),python3) -m venv "$$tools"; \
	"$$tools/bin/python" -m pip --disable-pip-version-check install --quiet \
		--require-hashes -r requirements/uv.txt; \
	"$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--no-emit-package closeout --all-extras --group dev $(if $(UPGRADE),--upgrade) pyproject.toml -o requirements/dev.txt

.PHONY: clean
clean: ## Remove .venv, caches and build output
	rm -rf $(VENV) build dist clients/python/dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
