# `make` lists the targets. The targets that need .venv make it first.

UV_VERSION := 0.13.9
PYTHON ?= python3
BIN := .venv/bin
# Outside of the checkout, so that all clones share it.
UV_FOLDER := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/orderly/uv-$(UV_VERSION)
UV := $(UV_FOLDER)/bin/uv
# The data of `make run`.
FOLDER := $(or $(ORDERLY_FOLDER),.local)
# The system of the demo: `local` (make run), or `compose` (make up).
TARGET ?= local
# Worker processes of the tests. Two keep two cores busy.
WORKERS ?= 2
# The tests' servers: `local` processes, or `containers` of a Docker engine.
SERVERS ?= local
# The databases to back up or restore, separated by commas; all by default. TO: the time to restore, with its time zone.
SERVICES ?=
TO ?=
# Which tests, and any option of pytest: T=tests/orders, T="tests/orders -k cancel".
T ?=

# Some images set it. Without bytecode, every start compiles 1,300 modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help doctor venv run demo shell break status stop test coverage check chaos chaos-quick chaos-short
.PHONY: chaos-upgrade fuzz bench load soak lint lint-types lint-rest format
.PHONY: migrate up down up-reset logs clean reset backup restore restore-drill audit audit-at-size

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2}'

doctor: ## Say what this machine lacks, and how to get it
	@command -v $(PYTHON) >/dev/null || { echo "missing   Python: no $(PYTHON) here. \
	Install 3.11 or newer, or name one: make PYTHON=/path/to/python3 ..."; exit 1; }
	@$(PYTHON) -m deploy.doctor

venv: .venv/.complete ## Build .venv from uv.lock

run: .venv/.complete ## Start the whole system on this machine; Ctrl-C stops it
	@$(BIN)/python -m deploy.local run

ifeq ($(TARGET),compose)
demo: ## Place real invoices as orders, and check every invariant; TARGET=compose, DEMO="--invoices 100"
	@$(PYTHON) -m deploy.compose demo $(DEMO)
else
demo: .venv/.complete
	@$(BIN)/python -m deploy.demo $(DEMO)
endif

audit: .venv/.complete ## Find what contradicts the invariants in the running system; AUDIT="--full"
	@$(BIN)/python -m deploy.audit run --local $(AUDIT)

audit-at-size: .venv/.complete ## Show that an audit of 1,000,000 orders reads what one of 50,000 reads (minutes)
	@AUDIT_TEST_ORDERS=1000000 $(BIN)/pytest -s tests/deploy/audit/test_bounded_reads.py

shell: .venv/.complete ## Open a shell for the services' commands; C="python -m services.orders dead-letters list"
	@$(BIN)/python -m deploy.local shell $${C:+--command "$$C"}

break: .venv/.complete ## Kill, cut and poison the running system at random, then audit: BREAK="--minutes 10"
	@$(BIN)/python -m deploy.local break $(BREAK)

status: .venv/.complete ## Show the processes of the running system, their addresses and memory
	@$(BIN)/python -m deploy.local status

stop: .venv/.complete ## Stop the system that `make run` started
	@$(BIN)/python -m deploy.local stop

test: .venv/.complete ## Run the tests, on real servers; T=tests/orders, SERVERS=containers
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup --servers $(SERVERS) $(T)

coverage: .venv/.complete ## Run all tests, and fail if they run too little of the code
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup --cov --cov-report=term:skip-covered

check: lint test ## Run every check of CI except coverage and chaos-short

chaos: .venv/.complete ## Run random chaos campaigns: CHAOS="--seeds 60 --seconds 60"
	@$(BIN)/python -m tests.chaos $(CHAOS)

chaos-upgrade: .venv/.complete ## Upgrade under load, and roll back: CHAOS="--seeds 10 --evidence upgrade.json"
	@$(BIN)/python -m tests.chaos --upgrade $(CHAOS)

# With a fixed seed, so that each run does the same. `make chaos` chooses a new one.
chaos-short: .venv/.complete ## Run three short campaigns, as CI does
	@$(BIN)/python -m tests.chaos --seeds 3 --seconds 30 --seed 255871 --workload hot-keys,poison,orders $(CHAOS)

chaos-quick: .venv/.complete ## Run the failpoint list, the mutants and three short campaigns (under 10 minutes)
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup tests/chaos
	@$(MAKE) --no-print-directory chaos-short

fuzz: .venv/.complete ## Send generated requests to each service, and check the responses: FUZZ="--cases 20000"
	@$(BIN)/python -m tests.fuzz $(FUZZ)

bench: .venv/.complete ## Run the benchmarks: BENCH="--only relay --rows 0"
	@$(BIN)/python -m tests.bench $(BENCH)

load: .venv/.complete ## Send real baskets to any target, and report: LOAD="--url http://... --users 50 --minutes 5"
	@$(BIN)/python -m deploy.load run $(LOAD)

soak: .venv/.complete ## Show that nothing grows under load for half an hour: SOAK="--minutes 30"
	@$(BIN)/python -m deploy.load soak $(SOAK)

lint: .venv/.complete ## Check style, spelling, language, types, layers and OpenAPI documents
	@$(MAKE) --no-print-directory --jobs 2 lint-types lint-rest

# mypy takes as long as all others.
lint-types:
	@$(BIN)/mypy

lint-rest:
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/codespell
	@$(BIN)/python -m tests.architecture.language
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tests.contracts.redocly

format: .venv/.complete ## Format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

migrate: .venv/.complete ## Migrate the databases of the running system
	@$(BIN)/python -m deploy.local migrate

backup: .venv/.complete ## Take and verify a base backup of each database of the running system; BACKUP="--keep 3"
	@$(BIN)/python -m deploy.backup backup --services "$(SERVICES)" $(BACKUP)

restore: .venv/.complete ## Restore the stopped system's databases: TO=2026-11-29T12:00:00Z SERVICES=users,orders
	@$(BIN)/python -m deploy.backup restore --to "$(TO)" --services "$(SERVICES)"

restore-drill: .venv/.complete ## Destroy databases under load, restore them and audit; DRILL="--newest-only"
	@$(BIN)/python -m tests.drill $(DRILL)

up: ## Start the whole system in containers
	@$(PYTHON) -m deploy.compose up

down: ## Stop the containers and keep their data
	@$(PYTHON) -m deploy.compose down

up-reset: ## Remove the containers, their data and their passwords
	@$(PYTHON) -m deploy.compose reset

logs: ## Follow the containers' output
	@$(PYTHON) -m deploy.compose logs

clean: ## Remove the caches of the tools
	@rm -rf .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis .coverage*
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

reset: stop ## Stop the system and delete all of its data
	@rm -rf $(addprefix $(FOLDER)/,postgres archive kafka valkey logs gateway mails secrets wrong console)
	@rm -f $(addprefix $(FOLDER)/,audit.json audit.json.lock catalogue.jsonl control.sock)

.venv/.complete: uv.lock pyproject.toml | $(UV)
	@$(UV) sync --quiet --locked --group dev --python $(PYTHON)
	@touch $@

# With pip into a folder; without pip (Debian) into a virtual environment, which takes longer.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3 ..."; exit 1; }
	@if $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
			--no-compile --upgrade --target $(UV_FOLDER) uv==$(UV_VERSION); \
	elif $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		$(PYTHON) -m venv $(UV_FOLDER) && $(UV_FOLDER)/bin/pip install --quiet uv==$(UV_VERSION); \
	else \
		echo "Python has neither pip nor venv. On Debian, run: apt install python3-venv"; exit 1; \
	fi
