# Thin names over the real commands. Everything that is needed gets installed; each step says what it does.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One store for demo and tests: the converter environment and the tiny model are made once.
export PHI4_EDGE_STORE ?= $(CURDIR)/build/store
DEMO_LAB := demo
DEMO_INVENTORY := build/demo/inventory.ini

.PHONY: help setup host demo test lint format lock bench clean
help:
	@echo "make demo    boot three lab gateways, provision them over SSH, ask each one, run again"
	@echo "make test    set up and run every test"
	@echo "make lint    ruff, mypy --strict, ansible-lint (production), yamllint"
	@echo "make bench   run the benchmarks"
	@echo "make lock    resolve and lock the dependencies again"

host:
	@.ci/host-setup

$(VENV)/.ready: requirements/dev.lock pyproject.toml
	@echo "==> Python environment in $(VENV) (hash-locked)"
	@$(PYTHON) -c 'import sys; sys.exit(f"phi4-edge needs Python 3.11 or newer, found {sys.version.split()[0]}: set PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: host $(VENV)/.ready

demo: setup
	@echo "==> Model: a tiny stand-in with random weights, made and converted by the real tools"
	@$(BIN)/phi4-edge model tiny
	@echo "==> Lab: three gateways with systemd, sshd and their own amount of RAM"
	@$(BIN)/phi4-edge lab down --name $(DEMO_LAB)
	@mkdir -p $(dir $(DEMO_INVENTORY))
	@$(BIN)/phi4-edge lab up --name $(DEMO_LAB) --hosts 3 --inventory $(DEMO_INVENTORY)
	@echo "==> Provision over SSH"
	@$(BIN)/phi4-edge provision $(DEMO_INVENTORY) --yes
	@echo "==> Ask each gateway (random weights: expect words, not sense)"
	@$(BIN)/phi4-edge ask $(DEMO_INVENTORY) "What can you do on a gateway?" --max-tokens 24
	@echo "==> Provision again: nothing to do"
	@$(BIN)/phi4-edge provision $(DEMO_INVENTORY) --yes
	@echo "The gateways stay up: $(BIN)/phi4-edge status $(DEMO_INVENTORY)"
	@echo "Take them away with:  $(BIN)/phi4-edge lab down --name $(DEMO_LAB)"

test: setup
	@$(BIN)/python -m pytest

lint: $(VENV)/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/yamllint --strict .
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline --strict

format: $(VENV)/.ready
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup
	@set -e; for script in benchmarks/bench_*.py; do echo "==> $$script"; $(BIN)/python "$$script"; done

# uv resolves; pip installs. Run after changing a dependency, then review the difference.
lock: $(VENV)/.ready
	@$(BIN)/python benchmarks/../requirements/lock.py

clean:
	@-$(BIN)/phi4-edge lab down --all
	rm -rf $(VENV) build dist
