# Everything starts from `make install`: a virtual environment in .venv with the pinned versions of constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: install demo test test-slow soak test-slurm test-all lint format figures audit bench clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

demo: install  ## the main job on the embedded suite: under 10 minutes on two cores, installation included
	$(BIN)/python bench/run_grid.py --grid smoothing --suite digits --seeds 0 --side-by-side 2 --train-seconds 110 --results results/demo

figures: install
	$(BIN)/python paper_figures/make_all.py

audit: install  ## checks records, and samples five cells of digits again: under two minutes on two cores
	$(BIN)/python bench/audit.py $(or $(ARGS),--longest 30)

test: install  ## one process a core, up to 4
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow and not gpu and not slurm"

test-slow: install  ## what takes minutes more, such as ranks that fail
	$(BIN)/python -m pytest -m "slow and not gpu and not slurm"

soak: install  ## kills each command 20 times by the clock, loads a store for a minute, fills disks: about 20 minutes
	SOAK_KILLS=20 SOAK_SECONDS=60 $(BIN)/python -m pytest -m slow tests/soak

test-slurm: install  ## starts a one-node Slurm of its own; needs root, slurm-wlm and munge
	$(BIN)/python -m pytest -m slurm

test-all: install
	$(BIN)/python -m pytest -m "not gpu"

bench: install  ## takes minutes; ARGS="--sizes digits" times a part, ARGS="--compare OLD.json NEW.json" two saved runs
	$(BIN)/python -m bench.benchmarks $(ARGS)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build results/demo *.egg-info
