# Everything a newcomer and CI run. A machine needs Python 3.11 to 3.13 and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Without the constraints pip would choose another torch than the one that everything was measured with.
INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test test-slow check format bench clean

help:
	@echo 'make demo       a fresh environment, then train, translate and evaluate Chinese-English (under 15 minutes on 2 cores)'
	@echo 'make test       the tests, without those that take more than half a minute each'
	@echo 'make test-slow  the others'
	@echo 'make check      formatting, lint and types; make format mends the first'
	@echo 'make bench      speed, written to benchmarks/results (THREADS=2; beside the peers once python -m benchmarks peers ran)'
	@echo 'make clean      removes the environments and caches, never a run'

demo:
	$(PYTHON) -m venv --clear .venv-demo
	.venv-demo/bin/python $(INSTALL) .
	.venv-demo/bin/nmt-train recipes/zh-en-gatt.yaml

test: .venv/installed
	$(BIN)/pytest -m 'not slow'

test-slow: .venv/installed
	$(BIN)/pytest -m slow

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# One command after the other, so that each has the machine to itself.
THREADS ?= $(shell nproc)
BENCH = $(BIN)/python -m benchmarks
RESULTS := benchmarks/results
bench: .venv/installed
	$(BENCH) train --threads $(THREADS) --updates 3 --out $(RESULTS)/train.md
	$(BENCH) decode --rounds 2 --out $(RESULTS)/decode.md
	$(BENCH) align --rounds 2 --out $(RESULTS)/align.md
	$(BENCH) data --threads $(THREADS) --out $(RESULTS)/data.md
	$(BENCH) lengths --out $(RESULTS)/lengths.md

clean:
	rm -rf .venv .venv-demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The environment, made where it is missing and brought up to date when what it is made from changes.
.venv/installed: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) --editable '.[test]'
	touch $@
