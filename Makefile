# Everything a person or CI does here. It needs a Python of 3.11 or later and make; the rest it fetches itself.

PYTHON ?= python3
AIRFLOW ?= 3.3.2
CONSTRAINTS := constraints/airflow-$(AIRFLOW).txt
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(AIRFLOW)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo ui test test-unit test-system test-wheel test-matrix check format bench bench-download bench-paid-once constraints clean

help: ## Show what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with everything in it

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "This needs Python 3.11 or later; name one: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) uv
	@echo "Setting up $(VENV) with Airflow $(AIRFLOW)"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint $(CONSTRAINTS) --editable '.[emulator]' --group dev
	@rm -f $(VENV)/.ready-*
	@touch $@

demo: $(READY) ## Make a video in a real Airflow, against the emulator (or WAN_API_KEY=… for a real gateway)
	@$(BIN)/python scripts/demo.py

ui: $(READY) ## The same Airflow with its web interface, until Ctrl-C (PORT=… to choose its port)
	@$(BIN)/python scripts/ui.py

test: $(READY) ## Run all tests but those of the three targets below, with branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --ignore=tests/system --ignore=tests/wheel
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-system: $(READY) ## Run the tests that start, and kill, a real scheduler, triggerer and API server
	$(BIN)/pytest tests/system

test-wheel: $(READY) ## Build the wheel and use it in an environment of its own
	$(BIN)/pytest tests/wheel

# One Airflow and one Python each; `make matrix-3.0.6-py3.12` runs one of them.
MATRIX := 3.0.6-py3.12 3.1.8-py3.12 3.2.2-py3.12 3.3.2-py3.12 3.3.2-py3.11 3.3.2-py3.13

test-matrix: $(MATRIX:%=matrix-%) ## Run the unit and DAG tests on every Airflow and Python supported

.PHONY: $(MATRIX:%=matrix-%)
$(MATRIX:%=matrix-%): matrix-%: .venvs/%/.ready
	@echo "Airflow $(word 1,$(subst -py, ,$*)), Python $(word 2,$(subst -py, ,$*))"
	.venvs/$*/bin/python -m pytest --quiet tests/unit tests/dags

$(MATRIX:%=.venvs/%/.ready): .venvs/%/.ready: pyproject.toml $(wildcard constraints/*.txt) | $(READY)
	@echo "Setting up .venvs/$*"
	@python=$$(scripts/find_python.sh $(word 2,$(subst -py, ,$*))) && $(BIN)/uv venv --quiet --clear --python "$$python" .venvs/$*
	@$(BIN)/uv pip install --quiet --compile-bytecode --python .venvs/$*/bin/python \
		--constraint constraints/airflow-$(word 1,$(subst -py, ,$*)).txt --editable '.[emulator]' --group test
	@touch $@

check: $(READY) ## Lint, format check, types, walls between the floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Measure what importing the operators costs a DAG file
	$(BIN)/python benchmarks/import_time.py

bench-download: $(READY) ## Measure the download against curl and httpx over loopback, and ten breaks; wants curl and 1.5 GB of disk
	$(BIN)/python benchmarks/download/run.py

bench-paid-once: $(READY) ## The same DAG three ways through the same faults; takes minutes, writes docs/paid_once_comparison.md
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint $(CONSTRAINTS) --group bench
	$(BIN)/python benchmarks/paid_once/run.py

constraints: $(READY) ## Resolve constraints/ anew
	scripts/constraints.sh

clean: ## Remove everything made here
	rm -rf .venv .venvs .demo .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
