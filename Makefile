# Jevons: every task of a developer. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
ARGS ?=

# A packed set of the control plane's binaries beside the checkout is used by itself; JEVONS_TOOLS set by hand wins.
PACKED := $(wildcard ../shared/bin/unpack)
ifndef JEVONS_TOOLS
ifneq ($(PACKED),)
export JEVONS_TOOLS := $(CURDIR)/.tools
TOOLS_STAMP := .tools/.stamp
endif
endif

.PHONY: help
help: ## list the tasks
	@grep -hE '^[a-zA-Z_-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: venv
venv: $(STAMP) ## the virtual environment, from the hash-locked requirements
$(STAMP): requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or later is needed; name it with PYTHON=python3.x" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.tools/.stamp: $(PACKED)
	$(PACKED) .tools >/dev/null
	@touch $@

.PHONY: tools
tools: $(STAMP) $(TOOLS_STAMP) ## find, download or build the binaries of the embedded cluster
	$(BIN)/jevons sandbox tools

.PHONY: demo
demo: tools ## the main job on real input, on an embedded cluster (ARGS="--json FILE", "--engine llamacpp")
	$(BIN)/jevons sandbox demo $(ARGS)

.PHONY: test
test: tools ## the whole suite except what is marked slow or kind
	$(BIN)/pytest -m "not slow and not kind" $(ARGS)

.PHONY: test-slow
test-slow: tools ## soak, 10,000 examples, chaos
	$(BIN)/pytest -m slow $(ARGS)

.PHONY: kind
kind: tools ## the cluster suite on a real kind cluster (KIND_NODE_IMAGE, BASE_IMAGE)
	$(BIN)/pytest -m kind tests/kind $(ARGS)

.PHONY: lint
lint: $(STAMP) ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(STAMP) ## rewrite the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: crds
crds: $(STAMP) ## write crds/ and the jevons-crds chart from the models
	$(BIN)/jevons crds --out crds --chart helm/jevons-crds --docs docs/reference/api.md

.PHONY: chart
chart: $(STAMP) ## write the chart's values and schema from their one commented source
	$(BIN)/python tools/chart_values.py

.PHONY: drift
drift: $(STAMP) ## generated files are what their sources say
	$(BIN)/jevons crds --out crds --chart helm/jevons-crds --docs docs/reference/api.md --check
	$(BIN)/python tools/chart_values.py --check

.PHONY: bench
bench: tools ## the benchmarks, each with its baseline in the same run
	$(BIN)/python -m bench $(ARGS)

.PHONY: lock
lock: ## resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q -o requirements/dev.txt
	uv pip compile pyproject.toml --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q -o requirements/runtime.txt

.PHONY: clean
clean: ## remove what the tasks made in this folder
	rm -rf $(VENV) .tools .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
