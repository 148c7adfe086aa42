# `make` prints this file's targets. Every target but `venv` runs in .venv, which it makes first.

UV_VERSION := 0.13.9
PYTHON ?= python3
BIN := .venv/bin
# Outside of the checkout, for every clone.
UV_FOLDER := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/orderly/uv-$(UV_VERSION)
UV := $(UV_FOLDER)/bin/uv
COMPOSE := docker compose --file deploy/compose.yaml
# Two are enough to keep two cores busy: most of a test's time is waiting.
WORKERS ?= 2
# How the tests' servers run: as `local` processes, or in `containers` of a Docker engine.
SERVERS ?= local

# Some images forbid Python its bytecode; without it every start compiles 1,300 modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv run demo status stop test check chaos chaos-quick bench lint format migrate up down logs clean reset

help: ## Print this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-11s\033[0m %s\n", $$1, $$2}'

venv: .venv/.complete ## Make the virtual environment of the locked packages

run: .venv/.complete ## Start everything on this machine and show what runs where; Ctrl-C stops it
	@$(BIN)/python -m deploy.local run

demo: .venv/.complete ## Place real orders through the gateway and check every invariant
	@$(BIN)/python -m deploy.demo

status: .venv/.complete ## Show what runs where
	@$(BIN)/python -m deploy.local status

stop: .venv/.complete ## Stop what `make run` started
	@$(BIN)/python -m deploy.local stop

test: .venv/.complete ## Run the tests on real servers: local processes, or SERVERS=containers
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup --servers $(SERVERS)

check: lint test ## Everything that CI checks but the chaos

chaos: .venv/.complete ## Inject faults and check every guarantee: CHAOS="--seeds 60 --seconds 60"
	@$(BIN)/python -m tests.chaos $(CHAOS)

# With a fixed seed two runs are comparable; `make chaos` uses a random one.
chaos-quick: .venv/.complete ## The failpoint list, the mutants and three short campaigns: under 10 minutes
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup tests/chaos
	@$(BIN)/python -m tests.chaos --seeds 3 --seconds 30 --seed 255871 --workload hot-keys,poison,orders $(CHAOS)

bench: .venv/.complete ## Measure beside bare baselines: BENCH="--only relay --rows 0"
	@$(BIN)/python -m tests.bench $(BENCH)

lint: .venv/.complete ## Style, types and layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: .venv/.complete ## Put the code into shape
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

migrate: .venv/.complete ## Bring the databases of a running system to the newest schema
	@$(BIN)/python -m deploy.local migrate

up: deploy/.env ## Start everything in containers
	$(COMPOSE) up --build --detach --wait

down: ## Stop the containers; their data stays
	$(COMPOSE) down

logs: ## Follow the containers' output
	$(COMPOSE) logs --follow

clean: ## Remove what tools left behind
	@rm -rf .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

reset: stop ## Remove all data of `make run`
	@rm -rf .local/postgres .local/kafka .local/valkey .local/logs .local/gateway .local/secrets .local/catalogue.jsonl

# Passwords of the containers, made once and kept out of git.
deploy/.env:
	@$(PYTHON) deploy/compose/secrets_file.py $@

.venv/.complete: uv.lock pyproject.toml | $(UV)
	@$(UV) sync --quiet --locked --group dev --python $(PYTHON)
	@touch $@

# Into a folder by pip, or where there is no pip (Debian), by way of a virtual environment, which takes longer.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3 ..."; exit 1; }
	@if $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
			--no-compile --upgrade --target $(UV_FOLDER) uv==$(UV_VERSION); \
	elif $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		$(PYTHON) -m venv $(UV_FOLDER) && $(UV_FOLDER)/bin/pip install --quiet uv==$(UV_VERSION); \
	else \
		echo "Python has neither pip nor venv; on Debian: apt install python3-venv"; exit 1; \
	fi
