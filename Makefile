# What a person or CI does here. It needs make and a Python of 3.11 or later, and installs everything else itself.

PYTHON ?= python3
AIRFLOW ?= 3.3.2
CONSTRAINTS := constraints/airflow-$(AIRFLOW).txt
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(AIRFLOW)

# A test run compiles and rewrites some thousand modules: keep the result for the next one.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup clients demo ui docs cluster check format test coverage test-system test-system-older test-cluster \
	test-cluster-200 test-wheel release-check test-hostile test-pages screenshots test-matrix test-preview bench bench-download \
	bench-pages bench-paid-once bench-slots bench-waits constraints clean

help: ## Show what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with everything in it

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "This needs Python 3.11 or later; name one: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) uv
	@echo "Setting up $(VENV) with Airflow $(AIRFLOW)"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint $(CONSTRAINTS) --editable '.[cli,emulator]' --group dev
	@rm -f $(VENV)/.ready-*
	@touch $@

demo: $(READY) ## Make a video in a real Airflow, against the emulator (or WAN_API_KEY=… for a real gateway)
	@$(BIN)/python scripts/demo.py

ui: $(READY) ## The same Airflow with its web interface, until Ctrl-C (PORT=… to choose its port)
	@$(BIN)/python scripts/ui.py

# Sphinx reads what Airflow's own environment has installed, so it goes in there, and only where the site is made.
docs: $(READY) ## Make the site of the documentation in docs/_build/html; a warning is an error
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint $(CONSTRAINTS) --group docs
	$(BIN)/sphinx-build --builder html --nitpicky --fail-on-warning --keep-going --fresh-env --quiet docs docs/_build/html

check: $(READY) ## Lint, check format, types and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Each half may be missing: its tests are then skipped.
CLIENTS := .venvs/clients
NPM_CLIENTS := tests/contract/clients

clients: $(READY) ## Install the foreign clients that `make test` proves the emulator with; without npm, the Python ones
	@(test -x $(CLIENTS)/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(CLIENTS)) && \
		$(BIN)/uv pip install --quiet --compile-bytecode --python $(CLIENTS)/bin/python \
		--constraint constraints/clients.txt --group clients || echo "NOT INSTALLED: the Python clients"
	@command -v npm >/dev/null && npm install --prefix $(NPM_CLIENTS) --no-package-lock --no-audit --no-fund --loglevel error >/dev/null \
		|| echo "NOT INSTALLED: the npm clients; they want npm and its registry"

test: $(READY) ## Run all tests but those of the targets below (CI=true: more random examples)
	$(BIN)/pytest --quiet -n 2 tests/unit tests/storage tests/dags tests/contract tests/docs

# Coverage doubles the CPU time of a whole DAG run, so the runs that reach no other lines are not measured.
MEASURED := tests/unit tests/storage tests/dags/test_sensor.py tests/dags/test_retries.py tests/contract/test_observability.py

coverage: $(READY) ## Run the tests that reach every line, with branch coverage; test-matrix does it on one of its Pythons
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --quiet $(MEASURED)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-hostile: $(READY) ## Answer the product with lies from a server of plain sockets, on two cores
	$(BIN)/pytest --quiet -n 2 tests/hostile

test-wheel: $(READY) ## Build wheel and sdist, check what is in them, and use the wheel in an environment of its own
	$(BIN)/pytest tests/wheel

test-system: $(READY) ## Run the tests that start, and kill, a real scheduler, triggerer and API server
	$(BIN)/pytest tests/system

# Airflow with Celery workers, in an environment of its own, because it wants an older Celery than the newest.
CLUSTER := .venvs/cluster
# How many mapped clips the largest run of the cluster's tests makes.
CLIPS ?= 40

cluster: $(CLUSTER)/.ready ## Run Airflow as a company does, with two Celery workers, PostgreSQL, Redis and S3, until Ctrl-C
	@$(CLUSTER)/bin/python scripts/cluster.py

test-cluster: $(CLUSTER)/.ready ## Run the tests on that cluster: mapped clips, killed machines, services that are away
	CLIPS=$(CLIPS) $(CLUSTER)/bin/python -m pytest tests/cluster

test-cluster-200: $(CLUSTER)/.ready ## Make 1, 20 and 200 mapped clips on that cluster; takes minutes
	CLIPS=200 $(CLUSTER)/bin/python -m pytest tests/cluster/test_clips.py

$(CLUSTER)/.ready: pyproject.toml constraints/cluster.txt | $(READY)
	@echo "Setting up $(CLUSTER)"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(CLUSTER)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(CLUSTER)/bin/python \
		--constraint constraints/cluster.txt --editable '.[cli,emulator]' --group cluster
	@touch $@

# Before Airflow 3.3, purchases are kept as Variables, which a worker may still write when its try is over.
WITH_VARIABLES := 3.2.2-py3.12

test-system-older: .venvs/$(WITH_VARIABLES)/.ready ## Run those of a frozen worker on an Airflow without a task state store
	.venvs/$(WITH_VARIABLES)/bin/python -m pytest tests/system/test_frozen_worker.py

# An Airflow and a Python each; `make matrix-3.0.6-py3.12` runs one. The newest Airflow gets all tests on each Python,
# save the one that `make test` has used; on one of them, coverage is measured. The older Airflows have the Python in the
# middle, and get what an Airflow can change; so the newest gets there only what none can. `make test` has tried more
# random examples than they do.
NEWEST := 3.3.2-py3.11 3.3.2-py3.12 3.3.2-py3.13
OLDER := 3.0.6-py3.12 3.1.8-py3.12 3.2.2-py3.12
PREVIEW := 3.4.0b2-py3.12
COVERED := 3.3.2-py3.13
MIDDLE := 3.3.2-py3.12
WITHOUT_AIRFLOW := $(addprefix tests/unit/,api emulator media net waiting test_redaction.py)
CELLS := $(NEWEST) $(OLDER) $(PREVIEW)
FAILED_ON_PREVIEW = echo "FAILED ON A PRE-RELEASE: Airflow $(PREVIEW) does not pass. This fails nothing, but look at it before its release."
TESTED = $(AIRFLOW)-py$(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

test-matrix: $(READY) ## Run the unit and DAG tests on every Airflow and Python supported (-j2: two at a time)
	@$(MAKE) --no-print-directory $(patsubst %,matrix-%,$(filter-out $(filter-out $(COVERED),$(TESTED)),$(NEWEST) $(OLDER))) test-preview

test-preview: ## Run them on Airflow's newest pre-release, and report a failure without failing
	@$(MAKE) --no-print-directory matrix-$(PREVIEW) || $(FAILED_ON_PREVIEW)

.PHONY: $(CELLS:%=matrix-%)
$(CELLS:%=matrix-%): matrix-%: .venvs/%/.ready
	@echo "Airflow $(word 1,$(subst -py, ,$*)), Python $(word 2,$(subst -py, ,$*))"
	$(if $(filter $*,$(COVERED)),CI= $(MAKE) --no-print-directory coverage BIN=.venvs/$*/bin)
	CI= .venvs/$*/bin/python -m pytest --quiet \
		$(if $(filter $*,$(COVERED)),tests/dags $(MEASURED:%=--ignore=%)) \
		$(if $(filter $*,$(MIDDLE)),$(WITHOUT_AIRFLOW)) \
		$(if $(filter $*,$(OLDER) $(PREVIEW)),tests/unit tests/dags $(WITHOUT_AIRFLOW:%=--ignore=%)) \
		$(if $(filter $*,$(filter-out $(COVERED) $(MIDDLE),$(NEWEST))),tests/unit tests/dags)

$(CELLS:%=.venvs/%/.ready): .venvs/%/.ready: pyproject.toml $(wildcard constraints/*.txt) | $(READY)
	@echo "Setting up .venvs/$*"
	@python=$$(scripts/find_python.sh $(word 2,$(subst -py, ,$*))) && $(BIN)/uv venv --quiet --clear --python "$$python" .venvs/$*
	@$(BIN)/uv pip install --quiet --compile-bytecode --python .venvs/$*/bin/python \
		--constraint constraints/airflow-$(word 1,$(subst -py, ,$*)).txt --editable '.[cli,emulator]' --group $(if $(filter $*,$(COVERED)),dev,test) \
		$(if $(filter $*,$(WITH_VARIABLES)),--group system)
	@touch $@

release-check: $(READY) ## Build into dist/ what is released, and use it in each of these Airflows and Pythons (CELLS="…" for some)
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist
	$(if $(filter-out $(PREVIEW),$(CELLS)),DIST=dist RELEASE_CELLS="$(filter-out $(PREVIEW),$(CELLS))" $(BIN)/pytest tests/wheel)
	$(if $(filter $(PREVIEW),$(CELLS)),DIST=dist RELEASE_CELLS="$(PREVIEW)" $(BIN)/pytest tests/wheel || $(FAILED_ON_PREVIEW))

test-pages: $(READY) ## Look at the pages in Airflow with a real Chromium; as root, apt installs it if it is missing
	@scripts/browser.sh
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint $(CONSTRAINTS) --group pages
	$(BIN)/pytest tests/browser

screenshots: ## Take the pictures of the documentation anew, in a run of those tests
	@SCREENSHOTS=docs/pictures $(MAKE) --no-print-directory test-pages

# The official providers, in an environment of their own.
IMPORTS := .venvs/imports

$(IMPORTS)/.ready: pyproject.toml constraints/imports.txt | $(READY)
	@echo "Setting up $(IMPORTS)"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(IMPORTS)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(IMPORTS)/bin/python --constraint constraints/imports.txt --editable . --group imports
	@touch $@

bench: $(IMPORTS)/.ready ## Measure what importing each public module costs, against official providers; writes docs/benchmarks.md
	$(IMPORTS)/bin/python benchmarks/import_time.py

bench-download: $(READY) ## Measure the download against curl and httpx over loopback, and ten breaks; wants curl and 1.5 GB of disk
	$(BIN)/python benchmarks/download/run.py

bench-pages: $(READY) ## Measure the start of the API server with and without the pages, and pages over 10,000 videos
	$(BIN)/python benchmarks/pages/run.py
	$(BIN)/python benchmarks/pages/run.py --postgres --starts 0

# What benchmarks/paid_once, benchmarks/waits and benchmarks/slots compare with.
RIVALS = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint $(CONSTRAINTS) --group bench

bench-paid-once: $(READY) ## The same DAG three ways through the same faults; takes minutes, writes docs/paid_once_comparison.md
	@$(RIVALS)
	$(BIN)/python benchmarks/paid_once/run.py

bench-waits: $(READY) ## Wait for up to 5,000 videos on one account in five ways; takes 17 minutes (QUICK=1: 2), writes docs/benchmarks.md
	@$(RIVALS)
	$(BIN)/python benchmarks/waits/run.py $(if $(QUICK),--quick)

bench-slots: $(READY) ## The seconds for which a video holds a worker, four ways; takes minutes, writes docs/benchmarks.md
	@$(RIVALS)
	$(BIN)/python benchmarks/slots/run.py

constraints: $(READY) ## Resolve constraints/ anew
	scripts/constraints.sh

clean: ## Remove everything made here
	rm -rf .venv .venvs $(NPM_CLIENTS)/node_modules .demo .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
