# Each target makes the environment it needs (.venv) and then does its job.
#   make PYTHON=python3.12 test    with an interpreter of your choice, 3.11.5 to 3.14
#   make LATEST=1 repro            with the newest version of every package, written to
#                                  constraints.txt; `git checkout constraints.txt` takes them back

VENV    := .venv
STAMP   := $(VENV)/.installed
MAKING  := $(VENV)/.making
ALLOWED := import sys, venv, ensurepip; sys.exit(not (3, 11, 5) <= sys.version_info < (3, 15))
PYTHON  ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11 python,\
             $(shell $(p) -c "$(ALLOWED)" >/dev/null 2>&1 && echo $(p))))

# What a suite's processes need besides, runtime.py sets.
export PATH := $(abspath $(VENV))/bin:$(PATH)
export MPLBACKEND := Agg
export OMP_WAIT_POLICY := passive
export DVC_NO_ANALYTICS := 1

# LATEST=1 writes what it installs into constraints.txt, so that DVC runs again what that may change.
PIP    := $(VENV)/bin/python -m pip --disable-pip-version-check
NEWEST  = $(PIP) install --quiet --upgrade --upgrade-strategy eager -e ".[test]" && \
  { sed -n '/^\#/p' constraints.txt; { $(PIP) freeze --all --exclude-editable --exclude pip | sed 's/+.*//'; \
    sed '/^\#/d' constraints.txt; } | awk -F== '!seen[tolower($$1)]++' | sort -f; } > $(VENV)/newest.txt && \
  mv $(VENV)/newest.txt constraints.txt

# An environment is redone when it was left half made, its interpreter is gone, or the checkout moved.
HEALTHY := $(shell test ! -e $(MAKING) && $(VENV)/bin/python -c "$(ALLOWED)" >/dev/null 2>&1 \
             && { test ! -e $(STAMP) || test "`cat $(STAMP)`" = "$(CURDIR)"; } && echo yes)
ifneq ($(HEALTHY)$(LATEST),yes)
.PHONY: $(STAMP)
endif

.PHONY: help repro test bench lab lint site clean
help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: $(STAMP)  ## run the default suite: every number, table, figure and executed notebook
	@test -e .git || { echo "make repro: this is no git checkout, and DVC needs one. Clone the" \
	  "repository, or make one here: git init && git add -A && git commit -m snapshot" >&2; exit 1; }
	dvc repro
	@echo && cat figures/digits/turtle-benchmark.md
	@echo && echo "Tables and figures: figures/digits/   Notebooks: notebooks/executed/digits/"
	@hume-turtle verify --brief || true

test: $(STAMP)  ## run the tests
	python -m pytest

bench: $(STAMP)  ## measure speed on this machine (15 minutes) and publish the table `speed`
	hume-turtle bench
	dvc repro

lab: $(STAMP)  ## open the notebooks in JupyterLab
	env -u MPLBACKEND jupyter lab --notebook-dir notebooks

lint: $(STAMP)  ## check the style
	@ruff --version >/dev/null 2>&1 || python -m pip install --quiet -c constraints.txt -e ".[dev]"
	ruff check .

site: $(STAMP)  ## build the web pages: executed notebooks, tables, figures and docs/
	@$(VENV)/bin/python -c "import latex2mathml, myst_nb, sphinx_book_theme" 2>/dev/null || \
	  $(PIP) install --quiet -c constraints.txt -e ".[site]"
	$(VENV)/bin/python docs/site/build.py
	@echo "Pages: docs/_build/html/index.html"

clean:  ## remove the environment, the web pages and tool caches; results and DVC's cache stay
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache docs/_build
	find docs hume_turtle tests -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@test "$(HEALTHY)" = yes || { test -n "$(PYTHON)" && $(PYTHON) -c "$(ALLOWED)" 2>/dev/null; } || { \
	  echo "make: no Python 3.11.5 to 3.14 with its venv module found" \
	    "(PYTHON=$(PYTHON)). Name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test "$(HEALTHY)" = yes || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	@touch $(MAKING)
	@echo "Installing into $(VENV); the first time takes some minutes."
	$(if $(LATEST),$(NEWEST),$(PIP) install --quiet -c constraints.txt -e ".[test]")
	@echo "$(CURDIR)" > $(STAMP) && rm -f $(MAKING)
