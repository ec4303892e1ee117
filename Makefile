# Everything sets itself up from nothing: a virtual environment in .venv, packages pinned by hash. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := archiver tests benchmarks

# What these versions were chosen with; only `make lock` needs them.
UV_VERSION := 0.13.9
COMPILE := .venv-lock/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock"

# Tests run on every core (tests/workers.py) unless told otherwise: make test PYTEST="-n0 -x tests/store".
PYTEST ?= -n auto

# Which mutants, by module, and how: make mutate MUTANTS="archiver.retention.dispose.*" MUTATE="--sample 50". All of those in pyproject.toml take hours.
MUTANTS ?=
MUTATE ?=
MUTATE_WORKERS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo demo-s3 test test-slow mutate lint format schema bench lock clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/runtime.stamp ## see a workspace captured, archived and queried
	$(BIN)/archiver demo $(ARGS)

demo-s3: $(VENV)/dev.stamp ## the same on a real S3 server, SeaweedFS, that it starts
	$(BIN)/archiver demo --s3 $(ARGS)

test: $(VENV)/dev.stamp ## prove it
	$(BIN)/python -m pytest $(PYTEST)

test-slow: $(VENV)/dev.stamp .venv-peers/peers.stamp ## prove it on the large data sets too, and with long crash sweeps
	$(BIN)/python -m pytest -m slow $(PYTEST)

mutate: .venv-mutate/mutate.stamp ## change the code that decides, and see whether a test notices; CONTRIBUTING.md says how
	.venv-mutate/bin/python tests/mutation_run.py --workers $(MUTATE_WORKERS) $(MUTATE) $(MUTANTS)
	.venv-mutate/bin/python tests/mutation_score.py

lint: $(VENV)/dev.stamp ## ruff, mypy in strict mode and the floors of the design
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/dev.stamp ## write the code as ruff formats it
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

schema: $(VENV)/runtime.stamp ## write the JSON Schemas of configuration, policies and their tests anew from the models
	$(BIN)/python -c 'import pathlib, archiver.settings; pathlib.Path("docs/archiver.schema.json").write_text(archiver.settings.schema_text(), "utf-8")'
	$(BIN)/python -c 'import pathlib, archiver.retention.policy; pathlib.Path("policies/schema.json").write_text(archiver.retention.policy.schema_text(), "utf-8")'
	$(BIN)/python -c 'import pathlib, archiver.retention.policy_test_keys as file; pathlib.Path("policies/tests.schema.json").write_text(file.schema_of_tests_text(), "utf-8")'

bench: $(VENV)/dev.stamp .venv-bench/bench.stamp ## measure; benchmarks/README.md explains the figures
	@for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

lock: .venv-lock/lock.stamp ## choose the versions of every package anew, with their hashes
	$(COMPILE) $(LOCK_ARGS) --extra dev pyproject.toml -o requirements-dev.lock
	$(COMPILE) $(LOCK_ARGS) --extra build -c requirements-dev.lock pyproject.toml -o requirements.lock
	$(COMPILE) $(LOCK_ARGS) benchmarks/rivals.in -o requirements-bench.lock
	$(COMPILE) $(LOCK_ARGS) tests/peers.in -o requirements-peers.lock
	$(COMPILE) $(LOCK_ARGS) -c requirements-dev.lock tests/mutation.in -o requirements-mutate.lock

clean: ## remove the environments and caches
	rm -rf $(VENV) .venv-bench .venv-peers .venv-mutate .venv-lock mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

# A stamp says that an environment holds what its lock file says, so that a second call is immediate.

$(VENV)/runtime.stamp: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(VENV)/runtime.stamp $@

.venv-bench/bench.stamp: requirements-bench.lock
	$(call new_environment,.venv-bench)
	.venv-bench/bin/python -m pip install --quiet --require-hashes -r requirements-bench.lock
	@touch $@

.venv-peers/peers.stamp: requirements-peers.lock
	$(call new_environment,.venv-peers)
	.venv-peers/bin/python -m pip install --quiet --require-hashes -r requirements-peers.lock
	@touch $@

.venv-mutate/mutate.stamp: requirements-dev.lock requirements-mutate.lock pyproject.toml
	$(call new_environment,.venv-mutate)
	.venv-mutate/bin/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	.venv-mutate/bin/python -m pip install --quiet --require-hashes -r requirements-mutate.lock
	@touch $@

.venv-lock/lock.stamp: Makefile
	$(call new_environment,.venv-lock)
	.venv-lock/bin/python -m pip install --quiet uv==$(UV_VERSION)
	@touch $@

$(BIN)/python:
	$(call new_environment,$(VENV))

define new_environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(1) \
		|| { rm -rf $(1); echo "python3 -m venv does not work here; on Debian install python3-venv" >&2; exit 2; }
endef
