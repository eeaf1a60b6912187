# Every target sets up what it needs in .venv by itself.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One thread per test process: two of them share the cores of a small machine.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

.PHONY: quickstart check lint types test test-fast format real-photos clean

quickstart: $(INSTALLED)          ## toy scenes to a trained network, at most five minutes on two cores
	$(BIN)/wsseg run --recipe quickstart

check: lint types test            ## all of it; changes no file

lint: $(INSTALLED)                ## what the pre-commit hooks run, too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy wsseg_cli plugins
	MYPYPATH=benchmarks $(BIN)/mypy benchmarks

test: $(INSTALLED)                ## the whole suite
	$(PYTEST)

test-fast: $(INSTALLED)           ## what takes under two minutes
	$(PYTEST) -m "not slow"

format: $(INSTALLED)              ## rewrites files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

real-photos: $(INSTALLED)         ## plain CAM on real photos in VOC layout: VOC_ROOT=… make real-photos
	$(BIN)/wsseg run --recipe cam_voc_lite

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs predictions .pytest_cache .ruff_cache .mypy_cache
