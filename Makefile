# make help lists what there is. Everything runs in environments of its own: .venv serves, .venv-test tests.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PORT ?= 8000
# Extra arguments for pytest: make test PYTEST_ARGS="-x -m 'not slow'"
PYTEST_ARGS ?=
PACKAGES := onoma service distill export loadtests benchmarks
SOURCES := $(PACKAGES) tests docker
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Strict: a package that could not be looked up is a failure, not a pass.
AUDIT := .venv-audit/bin/pip-audit --strict --disable-pip --no-deps

.PHONY: help serve test test-ray lint types pytest format install loadtest loadtest-docs bench-service bench-engine audit lock test-page screenshots clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 17

serve: .stamp-serve ## answer on http://localhost:PORT (PORT=8000, HOST= to listen elsewhere)
	.venv/bin/onoma serve $(if $(HOST),--host $(HOST)) --port $(PORT)

test: lint types pytest ## everything that must pass: ruff, mypy, pytest

lint: .stamp-test ## ruff, style and formatting of imports
	.venv-test/bin/ruff check $(SOURCES)

types: .stamp-test ## mypy, strict
	.venv-test/bin/mypy

pytest: .stamp-test ## the tests alone (PYTEST_ARGS="-k decode")
	.venv-test/bin/python -m pytest --numprocesses auto --maxprocesses 4 $(PYTEST_ARGS)

format: .stamp-test ## ruff, rewriting files
	.venv-test/bin/ruff check --fix $(SOURCES)
	.venv-test/bin/ruff format $(SOURCES)

install: .stamp-test ## the environment with every extra (.venv-test): distill, export, loadtest, dev

loadtest: .stamp-test ## Locust: student, teacher, auto up to saturation, with a gate (LOADTEST_ARGS="--rounds 1")
	.venv-test/bin/python -m loadtests $(LOADTEST_ARGS)

loadtest-docs: .stamp-test ## the same on an idle machine; writes docs/loadtest.md, docs/loadtest and the gate's baseline
	.venv-test/bin/python -m loadtests --docs docs --write-baseline $(LOADTEST_ARGS)

bench-service: .stamp-test ## the service beside other servers, on one core (BENCH_ARGS="--rounds 3 --seconds 2")
	.venv-test/bin/python -m benchmarks.service $(BENCH_ARGS)

bench-engine: .stamp-test ## why the engine is as it is: settings, memory, int8; writes docs/engine (half an hour, idle machine)
	.venv-test/bin/python -m benchmarks.service.variants --markdown docs/engine/variants.md
	.venv-test/bin/python -m benchmarks.engine_memory --markdown docs/engine/memory.md
	.venv-test/bin/python -m benchmarks.quantization --markdown docs/engine/quantization.md

audit: .stamp-serve .stamp-audit ## known vulnerabilities of what serves, then of every pinned package (asks PyPI)
	.venv/bin/python -m pip freeze --exclude-editable > .venv-audit/serving.txt
	$(AUDIT) --requirement .venv-audit/serving.txt
	$(AUDIT) --requirement constraints.txt

test-ray: .stamp-test ## the tests that need a local Ray: the contract on two replicas, killed ones, autoscaling (some minutes)
	.venv-test/bin/python -m pytest --numprocesses 0 -m ray $(PYTEST_ARGS) tests/ray tests/onoma/bulk tests/distill/test_cluster.py tests/docker/test_deploy.py

test-page: .stamp-page ## the page at / in a real Chromium (Debian's, or CHROMIUM=path)
	.venv-test/bin/python -m pytest --numprocesses 0 -m browser $(PYTEST_ARGS) tests/browser

screenshots: .stamp-page ## pictures of the page into out/screenshots, to be looked at
	.venv-test/bin/python tests/browser/screenshots.py

lock: ## the packages of the serving image with their hashes, docker/requirements*.txt (asks PyPI)
	PYTHON="$(PYTHON)" docker/lock.sh

clean: ## remove environments, caches and build products
	rm -rf .venv .venv-test .venv-audit .stamp-* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.stamp-serve: pyproject.toml constraints.txt
	@$(call venv,.venv)
	@echo "installing what serving needs into .venv"
	@.venv/bin/python $(PIP_INSTALL) --editable .
	@touch $@

.stamp-test: pyproject.toml constraints.txt
	@$(call venv,.venv-test)
	@echo "installing every extra into .venv-test (torch is large)"
	@.venv-test/bin/python $(PIP_INSTALL) --editable '.[bulk,distill,export,loadtest,ray,dev]'
	@touch $@

.stamp-page: .stamp-test
	@echo "installing the driver of browsers into .venv-test"
	@.venv-test/bin/python $(PIP_INSTALL) --editable '.[browser]'
	@touch $@

.stamp-audit: constraints.txt
	@$(call venv,.venv-audit)
	@echo "installing pip-audit into .venv-audit"
	@.venv-audit/bin/python $(PIP_INSTALL) pip-audit
	@touch $@

# A virtual environment at $(1), unless there is a working one.
define venv
	if [[ -z "$(PYTHON)" ]]; then echo "onoma needs Python 3.11 or newer; name one with make PYTHON=..." >&2; exit 1; fi; \
	if ! $(1)/bin/python -m pip --version >/dev/null 2>&1; then echo "creating $(1) with $(PYTHON)"; $(PYTHON) -m venv --clear $(1); fi
endef
