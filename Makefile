# `make` alone lists what there is. Everything runs in .venv, which the targets set up when it is missing or old.
.DEFAULT_GOAL := help
VENV ?= $(or $(SUPERIMAP_VENV),.venv)
RUN := python3 run.py
UV := $(VENV)/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(UPGRADE)
ARGS ?=

.PHONY: help setup up demo test fuzz faults lint format docs lock ci cluster image compose-up clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## set up .venv with everything for development
	@$(RUN) setup --dev

up: ## run everything in one go, with its own PostgreSQL and Valkey (ARGS="--port 9000")
	@$(RUN) up $(ARGS)

demo: ## watch mails become webhooks (ARGS="--mails 50")
	@$(RUN) demo $(ARGS)

test: ## run the tests (ARGS="-k idle")
	@$(RUN) test $(ARGS)

fuzz: setup ## read mutated mails for a while: none may raise (ARGS="--seconds 600 --seed 1")
	$(VENV)/bin/python -m trials.fuzz $(ARGS)

faults: setup ## let every fault strike, half an hour; a line of JSON for each (ARGS="F03 kills --away 5")
	@$(VENV)/bin/python -m trials.faults $(ARGS)

lint: setup ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: setup ## rewrite the sources as ruff likes them
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: setup ## refresh generated tables and build the documentation site into build/docs
	$(VENV)/bin/python docs/_sphinx/tables.py
	$(VENV)/bin/sphinx-build -W --keep-going -q -c docs/_sphinx . build/docs

lock: setup ## write the lock files anew from pyproject.toml (UPGRADE=--upgrade for the newest versions)
	$(COMPILE) --extra embedded --extra dev pyproject.toml -o requirements-dev.lock
	$(COMPILE) --extra embedded -c requirements-dev.lock pyproject.toml -o requirements.lock
	printf 'uv\nhatchling\neditables\n' | $(COMPILE) -c requirements-dev.lock - -o requirements-tools.lock
	echo 'openapi-python-client==0.29.1' | $(COMPILE) - -o requirements-client.lock

ci: ## what CI runs: lint, then the tests, where a missing server is a failure
	@.ci/run $(ARGS)

cluster: setup ## try the cluster at length with real processes; a line of JSON each (ARGS="scale kill")
	$(VENV)/bin/python -m trials.cluster $(ARGS)

image: ## build the container image
	docker build --tag superimap .

compose-up: ## run the services in containers (needs .env, see .env.example)
	docker compose up --build $(ARGS)

clean: ## remove what the tools left behind, but not .venv
	rm -rf .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .schemathesis build dist
