# Thin names over the real commands. Everything that is needed gets installed; each step says what it does.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where it is set, each of the many processes compiles our modules again.
unexport PYTHONDONTWRITEBYTECODE
# One store for demo and tests: environments and models are made once.
export PHI4_EDGE_STORE ?= $(CURDIR)/build/store
# The engine is a project of its own, with an environment like the one it gets on a gateway.
ENGINE := roles/onnx/files/engine
ENGINE_VENV := build/engine
export WEBUI_VENV ?= build/open-webui
WEBUI_PYTHON ?= python3.11
# Prints where the store has the tiny model as the engine reads it.
TINY_ONNX := from phi4_edge.artifacts import Store; s = Store(); print(s.path(s.digest("tiny/onnx-int4")))
PYTAG := $(shell $(PYTHON) -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
PIP_FLAGS := --quiet --disable-pip-version-check
# Test files run side by side; the tests of one file stay in order, on one lab. Much of their time is waiting: for boots,
# bakes and locks.
JOBS ?= 3
# The same for the tests without a lab, of which few wait.
QUICK_JOBS ?= 3
BY_FILE := --dist loadfile --no-loadscope-reorder
# A user who became a member of the group docker a moment ago needs no new login.
WITH_DOCKER := .ci/with-docker
DEMO_LAB := demo
DEMO_INVENTORY := build/demo/inventory.ini

.PHONY: help setup host browser prometheus demo test tables webui-real check quick-tests lint ruff types yamllint ansible-lint format lock bench tiny-model clean
help:
	@echo "make demo    boot three lab gateways, provision them over SSH, ask each one, run again"
	@echo "make test    set up and run every test"
	@echo "make check   before every push, in minutes: lint without ansible-lint, the quick unit tests and those of the command line"
	@echo "make tables  every row of the long tables, every scenario of Molecule, the real vLLM; make test runs a part of them"
	@echo "make webui-real  install the real Open WebUI (2 GB) and ask it questions in a browser"
	@echo "make lint    ruff, mypy --strict, ansible-lint (production), yamllint"
	@echo "make bench   run the benchmarks and write docs/performance.md"
	@echo "make lock    resolve and lock the dependencies again"
	@echo "make tiny-model  teach the tiny model anew: after a change of its dialogues or of the converter's tools"

host:
	@.ci/host-setup

# Only tests look at pages: nothing else waits for a browser.
browser: host
	@.ci/browser-setup

# Only tests of alerts and dashboards ask it.
prometheus: host
	@.ci/prometheus-setup

$(VENV)/.ready: requirements/dev.lock pyproject.toml
	@echo "==> Python environment in $(VENV) (hash-locked)"
	@$(PYTHON) -c 'import sys; sys.exit(f"phi4-edge needs Python 3.11 or newer, found {sys.version.split()[0]}: set PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .
	@touch $@

$(ENGINE_VENV)/.ready: $(ENGINE)/locks/$(PYTAG).txt requirements/engine-tests.lock $(VENV)/.ready
	@echo "==> Python environment of the engine in $(ENGINE_VENV) (hash-locked)"
	@$(PYTHON) -m venv --clear $(ENGINE_VENV)
	@$(ENGINE_VENV)/bin/python -m pip install $(PIP_FLAGS) --require-hashes -r $(ENGINE)/locks/$(PYTAG).txt -r requirements/engine-tests.lock
	@touch $@

setup: host $(VENV)/.ready

demo: setup
	@echo "==> Model: a tiny stand-in that comes with the package, tied like the real one"
	@$(BIN)/phi4-edge model tiny
	@echo "==> Lab: three gateways with systemd, sshd and their own amount of RAM"
	@$(WITH_DOCKER) $(BIN)/phi4-edge lab down --name $(DEMO_LAB)
	@mkdir -p $(dir $(DEMO_INVENTORY))
	@$(WITH_DOCKER) $(BIN)/phi4-edge lab up --name $(DEMO_LAB) --hosts 3 --inventory $(DEMO_INVENTORY)
	@echo "==> Provision over SSH: a canary first, then wave by wave"
	@$(BIN)/phi4-edge provision $(DEMO_INVENTORY) --yes --bake 5
	@echo "==> Ask each gateway (the tiny model was taught a few dozen dialogues)"
	@$(BIN)/phi4-edge ask $(DEMO_INVENTORY) "What can you do on a gateway?" --max-tokens 24
	@echo "==> Provision again: nothing to do"
	@$(BIN)/phi4-edge provision $(DEMO_INVENTORY) --yes
	@echo "The gateways stay up: $(BIN)/phi4-edge status $(DEMO_INVENTORY)"
	@echo "Remove them with:  $(WITH_DOCKER) $(BIN)/phi4-edge lab down --name $(DEMO_LAB)"

# The tests without a lab first: they say the most. Beside them is made what the lab's tests share, which takes minutes of one core;
# the engine's own tests, which mostly wait, go beside all.
test: setup browser prometheus $(ENGINE_VENV)/.ready
	@mkdir -p build
	@$(WITH_DOCKER) $(BIN)/python -m tests.e2e.prepare >build/lab-prepare.log 2>&1 & prepare=$$!; engine=; \
	  trap 'kill $$prepare $$engine 2>/dev/null || true' EXIT; set -e; \
	  echo "==> Model for the tests: a tiny stand-in that comes with the package"; \
	  $(BIN)/phi4-edge model tiny; \
	  model=$$($(BIN)/python -c '$(TINY_ONNX)'); \
	  echo "==> Tests of the engine, beside the others; their output is shown at the end: build/engine-tests.log"; \
	  (cd $(ENGINE) && PHI4_TEST_MODEL_DIR="$$model" exec $(CURDIR)/$(ENGINE_VENV)/bin/python -m pytest -q) >build/engine-tests.log 2>&1 & engine=$$!; \
	  failed=; \
	  echo "==> Tests without the lab"; \
	  $(WITH_DOCKER) $(BIN)/python -m pytest -q --numprocesses $(QUICK_JOBS) $(BY_FILE) --ignore tests/e2e || failed="$$failed, without the lab"; \
	  wait $$prepare || { cat build/lab-prepare.log; failed="$$failed, what the lab shares"; }; prepare=; \
	  echo "==> Tests on lab gateways"; \
	  $(WITH_DOCKER) $(BIN)/python -m pytest -q --numprocesses $(JOBS) $(BY_FILE) tests/e2e || failed="$$failed, on lab gateways"; \
	  wait $$engine || failed="$$failed, of the engine"; engine=; \
	  echo "==> Tests of the engine"; cat build/engine-tests.log; \
	  if [ -n "$$failed" ]; then echo "failed: tests$${failed#,}" >&2; exit 1; fi

# The truth table and the kill table of docs/rollout.md with every row, 20 races, Ctrl-C at ten moments, the table of
# hostile hosts, Ollama's model after boots and kills, every scenario of Molecule, the real vLLM, ten minutes of many clients, and gateways
# with the oldest and the newest HAProxy: the machine's own is between them, or one of them.
tables: setup $(ENGINE_VENV)/.ready
	@$(BIN)/phi4-edge model tiny
	@cd $(ENGINE) && PHI4_TEST_MODEL_DIR="$$($(CURDIR)/$(BIN)/python -c '$(TINY_ONNX)')" \
	  $(CURDIR)/$(ENGINE_VENV)/bin/python tests/soak.py 600
	@$(WITH_DOCKER) $(BIN)/python -m pytest -q -m e2e --numprocesses $(JOBS) $(BY_FILE) tests/e2e/test_rollout_truth.py \
	  tests/e2e/test_drift_table.py tests/e2e/test_drift_compose.py tests/e2e/test_kill_table.py tests/e2e/test_two_controllers.py tests/e2e/test_lock_kills.py \
	  tests/e2e/test_hostile_lock.py tests/e2e/test_hostile_lab.py tests/e2e/test_port.py tests/e2e/test_settings_change.py tests/e2e/test_broken_release.py tests/e2e/test_workers_lab.py tests/e2e/test_balancer.py \
	  tests/e2e/test_lab_site.py tests/e2e/test_data_partition.py \
	  tests/e2e/test_look_elsewhere.py tests/e2e/test_ollama_loading.py tests/e2e/test_kill_compose.py tests/e2e/test_lifecycle.py tests/e2e/test_bad_input.py \
	  tests/e2e/test_collection_lab.py tests/e2e/test_switch_engine.py tests/e2e/test_webui.py tests/e2e/test_doctor_lab.py tests/e2e/test_gateway.py \
	  tests/e2e/test_trust_lab.py tests/e2e/test_vllm.py tests/e2e/test_tryout.py tests/e2e/test_operating_systems.py tests/e2e/test_molecule.py tests/e2e/test_molecule_vllm.py
	@$(WITH_DOCKER) $(BIN)/python -m pytest -q -m full --ignore tests/e2e
	@set -e; for suite in bullseye trixie; do place=$$(.ci/haproxy-of $$suite); \
	  PATH="$$place:$$PATH" $(BIN)/python -m pytest -q --numprocesses $(QUICK_JOBS) tests/unit/core/gateway; done

# The version that the catalog names, hash-locked, on the Python of its image. PyTorch comes as a CPU build and without a
# hash, as for the converter.
$(WEBUI_VENV)/.ready: requirements/open-webui.lock $(VENV)/.ready
	@echo "==> Open WebUI in $(WEBUI_VENV) (hash-locked)"
	@$(WEBUI_PYTHON) -m venv --clear $(WEBUI_VENV)
	@torch=$$($(BIN)/python -c 'from phi4_edge.artifacts.convert import pytorch as e; print(e.TORCH)'); \
	  index=$$($(BIN)/python -c 'import os; from phi4_edge.artifacts.convert import pytorch as e; print(os.environ.get(e.TORCH_INDEX_SETTING) or e.TORCH_INDEX)'); \
	  $(WEBUI_VENV)/bin/python -m pip install $(PIP_FLAGS) --no-deps $$torch || \
	  $(WEBUI_VENV)/bin/python -m pip install $(PIP_FLAGS) --no-deps --extra-index-url $$index $$torch
	@$(WEBUI_VENV)/bin/python -m pip install $(PIP_FLAGS) --no-deps --require-hashes -r requirements/open-webui.lock
	@touch $@

# The page as people see it: on ONNX and on the stand-in for Ollama, in the lab. Pictures: build/open-webui-pictures.
webui-real: setup browser $(WEBUI_VENV)/.ready
	@$(BIN)/phi4-edge model tiny
	@$(WITH_DOCKER) $(BIN)/python -m pytest -q -m webui_real tests/e2e/test_webui_real.py

# Side by side; which one failed stands at the end.
check: $(VENV)/.ready $(ENGINE_VENV)/.ready
	@$(MAKE) --no-print-directory --jobs --keep-going --output-sync=line ruff types yamllint quick-tests

quick-tests: $(VENV)/.ready
	@$(BIN)/python -m pytest -q --numprocesses $(QUICK_JOBS) $(BY_FILE) -m "not full and not slow" tests/unit tests/cli

lint: ruff types yamllint ansible-lint

ruff: $(VENV)/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.ready $(ENGINE_VENV)/.ready
	@$(BIN)/mypy
	@$(BIN)/python .ci/types
	@cd $(ENGINE) && $(CURDIR)/$(ENGINE_VENV)/bin/python -m mypy

yamllint: $(VENV)/.ready
	@$(BIN)/yamllint --strict .

ansible-lint: $(VENV)/.ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline --strict

format: $(VENV)/.ready
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# All, full size; or some of them, or smaller: make bench BENCH="noop push --pairs 2 --hosts 2".
BENCH ?=
bench: setup
	@$(BIN)/phi4-edge model tiny
	@$(WITH_DOCKER) $(BIN)/python benchmarks/run.py $(BENCH); status=$$?; $(BIN)/python benchmarks/report.py; exit $$status

# Two minutes of one core, and as long again for its exam as ONNX, GGUF and bf16; needs the converter environment.
tiny-model: $(VENV)/.ready
	@$(BIN)/python .ci/tiny-model

# uv resolves; pip installs. Run after changing a dependency, then review the difference.
UV := env -u PIP_FIND_LINKS $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate
WEBUI_VERSION = $(shell $(BIN)/python -c 'from phi4_edge.data import load_catalog; print(load_catalog().webui.image.tag.removeprefix("v"))')
# Its PyTorch is a CPU build of another index: neither it nor what only its CUDA build needs is locked.
TORCH_OWN := torch triton cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,cublas cuda-cccl cuda-cupti \
  cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)
UNIVERSAL := --universal --python-version 3.11
lock: $(VENV)/.ready
	$(UV) $(UNIVERSAL) pyproject.toml --group dev -o requirements/dev.lock
	$(UV) $(UNIVERSAL) pyproject.toml -o requirements/runtime.lock
	$(UV) $(UNIVERSAL) requirements/converter.in -o cli/phi4_edge/artifacts/convert/converter.lock
	$(UV) $(UNIVERSAL) requirements/onnx-prover.in -c cli/phi4_edge/artifacts/convert/converter.lock -o cli/phi4_edge/artifacts/convert/onnx_prover.lock
	$(UV) $(UNIVERSAL) requirements/pytorch.in -c cli/phi4_edge/artifacts/convert/converter.lock -o cli/phi4_edge/artifacts/convert/pytorch.lock
	for tag in 3.11 3.12 3.13 3.14; do $(UV) --python-version $$tag --python-platform x86_64-manylinux_2_31 --only-binary :all: \
	  requirements/engine.in -o $(ENGINE)/locks/cp$${tag/./}.txt; done
	$(UV) $(UNIVERSAL) requirements/engine-tests.in -c $(ENGINE)/locks/cp311.txt -o requirements/engine-tests.lock
	echo open-webui==$(WEBUI_VERSION) | $(UV) --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  $(addprefix --no-emit-package ,$(TORCH_OWN)) -o requirements/open-webui.lock -

clean:
	@-$(WITH_DOCKER) $(BIN)/phi4-edge lab down --all
	rm -rf $(VENV) build dist
