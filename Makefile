# Two commands on a fresh machine with Python >= 3.11:  make train  |  make test
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install train test test-all lint format bench docs clean

VENV := .venv
BIN := $(VENV)/bin
# Installs again only when the content of these files changes.
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
# More extras: make install EXTRAS=dev,docs,cuda
EXTRAS ?= dev,docs
ARGS ?=
# Processes that share the tests; 0: this one alone, for debugging.
WORKERS ?= 2

help: ## this text
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-9s %s\n", $$1, $$2 }'

install: $(STAMP) ## create .venv with the pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	@python=""; \
	for candidate in $${PYTHON:-} python3 python3.13 python3.12 python3.11; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "taskloom needs Python 3.11 or newer; found: $$(python3 --version 2>&1 || echo none). Point PYTHON=/path/to/python at one." >&2; exit 1; \
	fi; \
	if ! [ -x $(BIN)/python ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  rm -rf $(VENV); \
	  if ! "$$python" -m venv $(VENV); then \
	    rm -rf $(VENV); \
	    echo "Could not create a virtual environment. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; \
	  fi; \
	fi
	@echo "Installing taskloom and its pinned dependencies into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	@rm -f $(VENV)/.installed-*
	@touch $(STAMP)

train: $(STAMP) ## train the default experiment on this machine; run it again to resume (ARGS="total_steps=2e7")
	@$(BIN)/taskloom train $(ARGS)

test: $(STAMP) ## the whole test suite but the slow part
	@$(BIN)/python -m pytest -q -m "not slow" -n $(WORKERS) --dist loadfile $(ARGS)

test-all: $(STAMP) ## the slow part too
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(STAMP) ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP) ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP) ## speed of environments and training (ARGS="env=SkillGraph/Obtain-v0")
	@$(BIN)/taskloom bench $(ARGS)

docs: $(STAMP) ## the documentation, in docs/_build/html; needs no network
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "written: docs/_build/html/index.html"

clean: ## remove .venv and caches; run folders stay
	rm -rf $(VENV) build docs/_build docs/_generated docs/environments docs/agents docs/cli *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
