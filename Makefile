# Needs Python 3.11 or newer (with its venv module) and make; everything else is installed into $(VENV) from the
# pinned, hash-checked lists in requirements/, and only again when those change.

PYTHON ?= python3
VENV ?= .venv
UV ?= uv
JOBS ?= auto

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
HAVE_PYTHON := $(VENV)/.python.stamp
HAVE_RUN := $(VENV)/.run.stamp
HAVE_TEST := $(VENV)/.test.stamp
HAVE_TORCH := $(VENV)/.torch.stamp
TORCH := training modules rounding frontends/torch compat/amct_pytorch
TORCH_CODE := $(wildcard $(TORCH:%=amctc/%)) $(wildcard $(TORCH:%=tests/%))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-torch check lint format bench fuzz docs protos tables golden requirements clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(HAVE_RUN)  ## quantize the embedded example and compare it with the float model
	$(BIN)/amctc demo

test: check  ## every check, then every test but those that need torch
	$(BIN)/pytest -n $(JOBS) -m "not torch"

test-torch: $(HAVE_TORCH)  ## what `make test` leaves out for want of torch: types and tests of $(TORCH)
	$(BIN)/mypy $(TORCH_CODE)
	$(BIN)/basedpyright $(TORCH_CODE)
	$(BIN)/pytest -n $(JOBS) -m torch tests

check: $(HAVE_TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --exclude '^(amctc|tests)/(training|modules|rounding|frontends/torch|compat/amct_pytorch)/'
	$(BIN)/basedpyright -p pyright-without-torch.json
	$(BIN)/lint-imports

lint: check  ## the checks alone: style, types, import layers

format: $(HAVE_TEST)  ## mend style where a tool can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(HAVE_TEST)  ## run the benchmarks, one after the other
	@set -e; for script in $(sort $(wildcard benchmarks/bench_*.py)); do echo "== $$script"; $(BIN)/python $$script; done

fuzz: $(HAVE_TEST)  ## the property tests with many more examples than `make test` takes
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -n $(JOBS) -m hypothesis

docs: $(HAVE_RUN)  ## write docs/reference.md and docs/codes.md from what the program says of itself
	$(BIN)/python docs/write_reference.py docs/reference.md
	$(BIN)/python docs/write_codes.py docs/codes.md

protos: $(HAVE_RUN)  ## compile the schemas of grammar/proto, for a fast start
	$(BIN)/python -m amctc.dialects.caffe.compile_schema grammar/proto

tables: $(HAVE_RUN)  ## write the tables of the grammars in grammar/, for a fast start
	$(BIN)/python -m amctc.text.compile_grammars grammar/tables

golden: $(HAVE_TEST)  ## record the golden files anew; read the diff before you commit it
	AMCTC_UPDATE=1 $(BIN)/pytest -q tests/test_golden.py -k golden_graph

requirements:  ## pin anew what requirements/*.in ask for (needs uv)
	cd requirements && for list in run test; do \
	  $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --custom-compile-command "make requirements" $$list.in -o $$list.txt || exit 1; done

clean:  ## remove the environment and everything else that was made
	rm -rf $(VENV) build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(HAVE_PYTHON):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "amctc needs Python 3.11 or newer, and $(PYTHON) is not; say which to use: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make an environment in $(VENV); on Debian install python3-venv" >&2; exit 1; }
	@touch $@

$(HAVE_RUN): requirements/run.txt pyproject.toml setup.py $(wildcard amctc/quant/native_*) | $(HAVE_PYTHON)
	$(PIP) install --require-hashes -r requirements/run.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(HAVE_TEST): requirements/test.txt | $(HAVE_RUN)
	$(PIP) install --require-hashes -r requirements/test.txt
	@touch $@

# Without hashes: the wheel of one version is another one for each platform and index.
$(HAVE_TORCH): requirements/torch.txt | $(HAVE_TEST)
	$(PIP) install -r requirements/torch.txt
	$(BIN)/python -c 'import torch'
	@touch $@
