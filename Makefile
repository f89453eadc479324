# Each target makes the environment it needs (.venv) and then does its job.
#   make PYTHON=python3.12 test    with an interpreter of your choice, 3.10 to 3.13

VENV    := .venv
STAMP   := $(VENV)/.installed
MAKING  := $(VENV)/.making
ALLOWED := import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
PYTHON  ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python3.10 python,\
             $(shell $(p) -c "$(ALLOWED)" >/dev/null 2>&1 && echo $(p))))

# run_notebook.py sets what its kernels need, cli.py the number of threads (params.yaml).
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONHASHSEED := 0
export MPLBACKEND := Agg
export OMP_WAIT_POLICY := passive
export DVC_NO_ANALYTICS := 1

# An environment is redone when it was left half made, its interpreter is gone, or the checkout moved.
HEALTHY := $(shell test ! -e $(MAKING) && $(VENV)/bin/python -c "$(ALLOWED)" >/dev/null 2>&1 \
             && { test ! -e $(STAMP) || test "`cat $(STAMP)`" = "$(CURDIR)"; } && echo yes)
ifneq ($(HEALTHY),yes)
.PHONY: $(STAMP)
endif

.PHONY: help repro test bench lab lint clean
help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: $(STAMP)  ## run the default suite: every number, table, figure and executed notebook
	@test -e .git || { echo "make repro: this is no git checkout, and DVC needs one. Clone the" \
	  "repository, or make one here: git init && git add -A && git commit -m snapshot" >&2; exit 1; }
	dvc repro
	@echo && cat figures/digits/turtle-benchmark.md
	@echo && echo "Tables and figures: figures/digits/   Notebooks: notebooks/executed/digits/"

test: $(STAMP)  ## run the tests
	python -m pytest

bench: $(STAMP)  ## measure speed on this machine (15 minutes) and publish the table `speed`
	hume-turtle bench
	dvc repro

lab: $(STAMP)  ## open the notebooks in JupyterLab
	env -u MPLBACKEND jupyter lab --notebook-dir notebooks

lint: $(STAMP)  ## check the style
	@ruff --version >/dev/null 2>&1 || python -m pip install --quiet -e ".[dev]"
	ruff check .

clean:  ## remove the environment and tool caches; results and DVC's cache stay
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache
	find hume_turtle tests -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): pyproject.toml
	@test "$(HEALTHY)" = yes || { test -n "$(PYTHON)" && $(PYTHON) -c "$(ALLOWED)" 2>/dev/null; } || { \
	  echo "make: no Python 3.10 to 3.13 with its venv module found" \
	    "(PYTHON=$(PYTHON)). Name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test "$(HEALTHY)" = yes || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	@touch $(MAKING)
	@echo "Installing into $(VENV); the first time takes some minutes."
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	@echo "$(CURDIR)" > $(STAMP) && rm -f $(MAKING)
