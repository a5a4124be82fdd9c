# `make` alone lists the targets. Everything runs in .venv, which the targets set up if it is missing or outdated.
.DEFAULT_GOAL := help
VENV ?= $(or $(SUPERIMAP_VENV),.venv)
RUN := python3 run.py
UV := $(VENV)/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(UPGRADE)
ARGS ?=

.PHONY: help setup up demo test bench coefficients fuzz model simulation scale big pages screenshots stress soak faults servers lint format privileges docs lock ci cluster sbom audit pin-images image compose-up clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## set up .venv for development
	@$(RUN) setup --dev

up: ## run all services with embedded PostgreSQL and Valkey (ARGS="--port 9000")
	@$(RUN) up $(ARGS)

demo: ## send mails through all services and verify their webhooks (ARGS="--mails 50")
	@$(RUN) demo $(ARGS)

test: ## run the tests (ARGS="-k idle")
	@$(RUN) test $(ARGS)

bench: setup ## run a benchmark; without ARGS, list them (ARGS="wake --count 500")
	@$(VENV)/bin/python -m benchmarks $(or $(ARGS),--help)

coefficients: setup ## measure what `superimap plan` computes with, 6 minutes; write benchmarks/coefficients.json (ARGS="--check")
	@$(VENV)/bin/python -m benchmarks coefficients $(ARGS)

fuzz: setup ## fuzz the mail parser and the idler (ARGS="dialogues --seconds 600 --seed 1")
	$(VENV)/bin/python -m trials.fuzz $(ARGS)

model: setup ## explore the model of the protocol with spin, two minutes (needs spin and gcc; ARGS="--trail FENCE=0")
	@$(VENV)/bin/python -m trials.model $(ARGS)

simulation: setup ## simulate failing servers and killed processes over days, 1,000 times (ARGS="--seeds 50 --first 7")
	@$(VENV)/bin/python -m trials.simulation $(ARGS)

scale: setup ## simulate 10 million mailboxes on 1,000 idlers, half an hour; one line of JSON for each phase (ARGS="--idlers 100 --mailboxes 1000000")
	@$(VENV)/bin/python -m trials.scale $(ARGS)

big: setup ## check what each statement reads on 10 million mails; ten minutes, 12 GB (ARGS="--mails 1000000 --users 30000")
	@$(VENV)/bin/python -m trials.growth $(ARGS)

pages: setup ## time every page on 20 million mails, and webhooks beside readers; half an hour, 30 GB (ARGS="--folder /var/tmp/pages" keeps the database)
	@$(VENV)/bin/python -m trials.pages $(ARGS)

screenshots: setup ## render every page of the dashboard, desktop and phone, light and dark (ARGS="--docs" for the documentation's)
	@$(VENV)/bin/python -m trials.screenshots $(ARGS)

stress: setup ## put all processes under load and faults for an hour; report in build/stress (ARGS="--kills")
	@$(VENV)/bin/superimap stress --minutes 60 --report build/stress $(ARGS)

soak: setup ## the same for HOURS, with a rolling restart every ten minutes (HOURS=8)
	@$(VENV)/bin/superimap stress --minutes $$(python3 -c "print(60 * $(or $(HOURS),8))") --restart-every 10 --memory-slope 0.05 --report build/soak $(ARGS)

faults: setup ## inject all faults, 30 minutes; one line of JSON each (ARGS="F03 kills --away 5")
	@$(VENV)/bin/python -m trials.faults $(ARGS)

servers: setup ## try real mail servers: dovecot cyrus courier mailutils (needs root and apt); one line of JSON each
	@$(VENV)/bin/python -m trials.servers $(ARGS)

lint: setup ## run ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: setup ## format the sources with ruff
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

privileges: setup ## derive the database privileges of idlers and dispatchers from their statements
	$(VENV)/bin/python -m fixtures.privileges

docs: setup ## refresh generated tables and build the documentation site into build/docs
	$(VENV)/bin/python docs/_sphinx/tables.py
	$(VENV)/bin/sphinx-build -W --keep-going -q -c docs/_sphinx . build/docs

lock: setup ## rewrite the lock files from pyproject.toml (UPGRADE=--upgrade for newest versions)
	$(COMPILE) --extra embedded --extra otel --extra dev pyproject.toml -o requirements-dev.lock
	$(COMPILE) --extra embedded --extra otel -c requirements-dev.lock pyproject.toml -o requirements.lock
	printf 'uv\nhatchling\neditables\n' | $(COMPILE) -c requirements-dev.lock - -o requirements-tools.lock
	echo 'openapi-python-client==0.29.1' | $(COMPILE) - -o requirements-client.lock

ci: ## run what CI runs: lint, real mail servers, tests; a missing server is a failure
	@.ci/run $(ARGS)

cluster: setup ## run cluster scenarios with real processes; one line of JSON each (ARGS="scale kill")
	$(VENV)/bin/python -m trials.cluster $(ARGS)

sbom: setup ## write the bill of materials (CycloneDX) to build/sbom.json
	@mkdir -p build && $(VENV)/bin/python deploy/supply_chain.py sbom > build/sbom.json

audit: setup ## check versions, digests and licences of all dependencies, offline
	@$(VENV)/bin/python deploy/supply_chain.py audit

pin-images: setup ## write the digests of base images into Dockerfile and docker-compose.yml (needs docker and a registry)
	@$(VENV)/bin/python deploy/supply_chain.py pin-images

image: ## build the container image
	docker build --tag superimap .

compose-up: ## run the services in containers (needs .env, see .env.example)
	docker compose up --build $(ARGS)

clean: ## remove caches and build output, but not .venv
	rm -rf .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .schemathesis build dist
