# make setup | run | report | models | tpu-check | test | test-slow | test-long | test-tpu | test-conda | fuzz | benchmarks | lint | docs | images | screenshot | lock; see README.md and CONTRIBUTING.md.
PYTHON ?= python3
CORES ?= 8
TESTS ?= 2
CONFIG ?= config/config.yaml
UV_VERSION := 0.13.9
BIN := .venv/bin
LOCK := requirements/gpraflow.lock
COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --quiet --custom-compile-command "make lock"
# CONFIG may name several files; later ones win, also with the run's name.
RUN = $(shell sed -n "s/^run: *[\"']\{0,1\}\([A-Za-z0-9_.-]*\).*/\1/p" $(CONFIG) | tail -n 1)
REPORT ?= results/$(RUN)/report.html
# Snakemake, which resumes a run that was killed; CHECK=0 skips the check of the inputs before a run.
SNAKEMAKE = $(BIN)/python -m gpraflow.app.run $(if $(filter 0,$(CHECK)),--no-check) --cores $(CORES) --configfile $(CONFIG) $(if $(DATA),--config 'data=$(DATA)')

.PHONY: setup run report models test test-slow test-long test-tpu test-conda fuzz benchmarks lint docs images screenshot lock tpu-check

setup: .venv/ready

.venv/ready: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "gpraflow needs Python 3.11 to 3.13; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=python3.12, for example."; exit 1; }
	@$(PYTHON) -c 'import os, re, sys; sys.exit(bool(re.search(r"[\s\x27\"$$&;()<>|`\\]", os.getcwd())))' || \
		{ echo "$$PWD: this path has white space, quotes or other special characters of the shell, and Snakemake cannot run Python from there. Move the folder to a path without them."; exit 1; }
	@echo "Setting up .venv from $(LOCK)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement $(LOCK)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --offline --no-build-isolation --no-deps --editable . --editable ./src
	@# Where Python is told not to keep what it has compiled, as in many containers, each job would compile all that it imports.
	@test -z "$$PYTHONDONTWRITEBYTECODE" || $(BIN)/python -m compileall -q -j 0 -x '/(test|tests|testing)/' .venv >/dev/null 2>&1 || true
	@touch $@

# An environment of its own, because libtpu is large and of no use elsewhere.
.venv-tpu/ready: requirements/gpraflow-tpu.lock | setup
	@echo "Setting up .venv-tpu from $<"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-tpu
	@$(BIN)/uv pip install --quiet --python .venv-tpu/bin/python --require-hashes --requirement $<
	@touch $@

tpu-check: .venv-tpu/ready
	@.venv-tpu/bin/snakemake --cores 1 --configfile $(CONFIG) --forcerun check_tpu -- tpu

# The report is the last step of a run.
run report: setup
	@for file in $(CONFIG); do test -f $$file || { echo "$$file: this config file does not exist (CONFIG names files separated by blanks, so names with blanks cannot be given)"; exit 1; }; done
	@test -n "$(RUN)" || { echo "$(CONFIG): no key 'run'; give the run a name of its own, for example run: mine"; exit 1; }
	@$(SNAKEMAKE)
	@echo "Report: results/$(RUN)/report.html"

# The models that come with the package, from the tables in DATA: two runs, and what the package keeps of them.
models: setup
	@test -n "$(DATA)" || { echo "make models DATA=<folder of yeast_*.tsv.gz and ecoli_lac_sortseq_bins.tsv.gz>"; exit 1; }
	@$(MAKE) run CONFIG="config/yeast_real.yaml config/yeast_real_ensemble.yaml"
	@$(MAKE) run CONFIG="config/ecoli_lac.yaml config/ecoli_lac_ensemble.yaml"
	@$(BIN)/python -m gpraflow.app.package resources/models/yeast-ypd config/yeast_real.yaml config/yeast_real_ensemble.yaml --config 'data=$(DATA)'
	@$(BIN)/python -m gpraflow.app.package resources/models/ecoli-lac config/ecoli_lac.yaml config/ecoli_lac_ensemble.yaml --config 'data=$(DATA)'

# Two at a time: much of a test is compilation, which takes one core. The tests of a file share what they set up.
test: setup
	$(BIN)/python -m pytest --numprocesses $(TESTS) --dist loadfile

# What takes a minute or more a test; `make test` leaves it out.
test-slow: setup
	$(BIN)/python -m pytest -m slow --numprocesses $(TESTS) --dist worksteal

# Every rule with every fault, every row of the page "Your assay", two conditions at full size: before a release.
test-long: setup
	$(BIN)/python -m pytest -m long --numprocesses $(TESTS) --dist worksteal

# The small run in environments made by conda's rules, from local channels. Needs CPython 3.12, fastp and strip; 3 GB for a while.
test-conda: setup
	$(BIN)/python -m pytest -m conda

# What is tested with libtpu, in the environment that has it.
test-tpu: .venv-tpu/ready
	@$(BIN)/uv pip install --quiet --python .venv-tpu/bin/python --constraints requirements/gpraflow.lock pytest pytest-timeout
	.venv-tpu/bin/python -m pytest tests/training/test_tpu.py

# Mutated files of every kind that is read: each must be read right or refused with a message. Other inputs with another SEED.
N ?= 2000
SEED ?= 1
fuzz: setup
	$(BIN)/python -m tests.fuzz $(N) --seed $(SEED) --keep .fuzz

# Every program, at its smallest size: whether it works, not how fast anything is. `make test` does the same.
benchmarks: setup
	@for program in $$(grep -l __main__ benchmarks/*.py); do echo $$program && $(BIN)/python $$program --smallest || exit 1; done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/snakemake --lint --configfile config/yeast_real.yaml
	$(BIN)/snakemake --lint --configfile config/dream2022.yaml
	$(BIN)/snakemake --lint --directory .test

# Warnings are errors; not with --quiet, with which they are not counted. The variable silences a notice about MkDocs 2, which the lock
# file rules out.
docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Documentation: site/index.html (with search: $(BIN)/python -m http.server --directory site)"

# The pictures of README.md: the report of a finished run and its rule graph without transitive edges. Needs graphviz and chromium.
images: setup
	@command -v dot >/dev/null && command -v chromium >/dev/null || { echo "make images needs graphviz and chromium (apt-get install graphviz chromium)"; exit 1; }
	@test -f $(REPORT) || { echo "$(REPORT): no such report; run 'make run' first, or set REPORT"; exit 1; }
	@mkdir -p docs/images
	@graph="$$($(BIN)/snakemake --cores 1 --configfile $(CONFIG) $(if $(DATA),--config 'data=$(DATA)') --rulegraph -- results/$(RUN)/report.html)" && \
		echo "$$graph" | tred 2>/dev/null | dot -Tsvg -Gmargin=0.1 -Granksep=0.3 -o docs/images/rulegraph.svg
	@chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=960,1180 --virtual-time-budget=5000 \
		--screenshot=docs/images/report.png "file://$(abspath $(REPORT))" 2>/dev/null
	@ls -l docs/images/report.png docs/images/rulegraph.svg

# The picture of the page of `gpraflow serve`, with the model of a finished run. Needs chromium.
MODEL ?= results/$(RUN)/model
screenshot: setup
	@command -v chromium >/dev/null || { echo "make screenshot needs chromium (apt-get install chromium)"; exit 1; }
	@test -d $(MODEL) || { echo "$(MODEL): no such model; run 'make run' first, or set MODEL"; exit 1; }
	@mkdir -p docs/images
	@$(BIN)/python -m tests.serve.screenshot $(MODEL) docs/images/page.png
	@ls -l docs/images/page.png

lock: setup
	$(COMPILE) --extra cloud --extra dev --extra docs --extra export --output-file requirements/gpraflow.lock
	$(COMPILE) --extra cloud --extra dev --extra docs --extra export --extra cuda --constraints requirements/gpraflow.lock --output-file requirements/gpraflow-cuda.lock
	$(COMPILE) --extra tpu --constraints requirements/gpraflow.lock --output-file requirements/gpraflow-tpu.lock
	$(BIN)/python requirements/pin_envs.py
