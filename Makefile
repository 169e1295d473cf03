# Two commands on a machine with python3, git and make: `make crawl` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
VENV ?= .venv
URL ?=
WORKERS ?= 2
OUT ?=
TESTS ?=
PYTHON ?=
export PYTHON

BIN := $(VENV)/bin
FLAGS = -w $(WORKERS) $(if $(OUT),-o "$(OUT)")

.DEFAULT_GOAL := help

.PHONY: crawl
crawl: $(VENV)/.installed ## crawl a demo shop made here, or URL=https://… (WORKERS=2 OUT=pages.jsonl)
ifeq ($(URL),)
	@$(BIN)/python -m crawler.demo --pages 1200 --hosts 4 --port 0 --run -- $(FLAGS)
else
	@$(BIN)/crawler run "$(URL)" $(FLAGS)
endif

.PHONY: test
test: $(VENV)/.installed servers ## run every test (TESTS=tests/unit for some)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

.PHONY: lint
lint: $(VENV)/.installed ## check format, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict crawler pipelines

.PHONY: format
format: $(VENV)/.installed ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(VENV)/.installed $(VENV)-bench/.installed servers ## compare with other crawlers; writes the README's table
	@$(BIN)/python -m tests.bench

.PHONY: settings
settings: $(VENV)/.installed ## write settings.toml from the code
	@$(BIN)/python -m crawler.settings_file > settings.toml.new && mv settings.toml.new settings.toml

.PHONY: lock
lock: $(VENV)/.installed ## renew the lock files from pyproject.toml
	@$(BIN)/python -m venv --clear $(VENV)-lock && $(VENV)-lock/bin/pip install -q pip-tools
	@deploy/lock.sh $(VENV)-lock/bin/pip-compile

.PHONY: clean
clean: ## remove what the other commands made, but no crawls
	rm -rf $(VENV) $(VENV)-bench $(VENV)-lock build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: servers
servers:
	@deploy/setup.sh servers

# Set up again only when the lock or the project's own file changed.
$(VENV)/.installed: requirements.lock pyproject.toml
	@deploy/setup.sh venv $(VENV)

$(VENV)-bench/.installed: requirements-bench.lock
	@deploy/setup.sh venv $(VENV)-bench requirements-bench.lock
