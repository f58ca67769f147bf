# Needs make, Python 3.11 to 3.13, and a package index. Another interpreter: make PYTHON=python3.12 demo
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK_COMMAND := uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --no-strip-extras \
	--no-emit-index-url --no-header -o requirements.lock
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Compiled once: every command, worker and flow that starts would do it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test every lint format bench docs lock clean

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP) ## Migrate a live table twice, and report what its application felt (two minutes)
	@"$(BIN)/python" -m examples.demo $(ARGS)

test: $(STAMP) ## Run all tests on real servers; ARGS="-k name" chooses
	@"$(BIN)/python" -m pytest -q $(ARGS)

every: $(STAMP) ## Run all tests with every case in every way (hours)
	@CHANGEOVER_EVERY_LEG=1 "$(BIN)/python" -m pytest -q $(ARGS)

lint: $(STAMP) ## Check style and types
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/mypy"

format: $(STAMP) ## Put the code into its form
	@"$(BIN)/ruff" check --fix .
	@"$(BIN)/ruff" format .

bench: $(STAMP) ## Measure against other tools
	@"$(BIN)/python" -m benchmarks $(ARGS)

docs: $(STAMP) ## Generate the reference pages again
	@"$(BIN)/python" -m docs $(ARGS)

install: $(STAMP) ## Make the virtual environment
	@:

lock: $(STAMP) ## Resolve the dependencies again
	@"$(BIN)/pip" install -q --disable-pip-version-check uv
	@"$(BIN)/$(firstword $(LOCK_COMMAND))" $(wordlist 2,99,$(LOCK_COMMAND)) --upgrade -q

clean: ## Remove the virtual environment and what tools left behind
	@rm -rf "$(VENV)" .mypy_cache .ruff_cache .pytest_cache .hypothesis dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "$(PYTHON) is not there. Install Python 3.11 to 3.13 (Debian, Ubuntu: apt install python3 python3-venv)," \
	    "or name one: make PYTHON=python3.12 demo" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "$$("$(PYTHON)" --version) is not supported. Name Python 3.11 to 3.13: make PYTHON=python3.12 demo" >&2; exit 2; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
	  v=$$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "$(PYTHON) has no venv. Debian, Ubuntu: apt install python$$v-venv" >&2; exit 2; }
	@echo "Installing into $(VENV): half a minute to two, once."
	@"$(PYTHON)" -m venv "$(VENV)"
	@"$(BIN)/python" -m pip install -q --no-compile --disable-pip-version-check --no-input --require-hashes -r requirements.lock
	@"$(BIN)/python" -m pip install -q --disable-pip-version-check --no-input --no-deps -e .
	@touch "$(STAMP)"
