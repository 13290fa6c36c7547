# Two commands do all the set-up on a fresh Debian machine with Python 3.11:
#   make quickstart   embedded data -> small sweep -> report and leaderboard
#   make test         lint, types and the test-suite

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= camsweep-quickstart
STUDY ?= camsweep-study

.PHONY: quickstart test lint types study clean

quickstart: $(STAMP)
	$(BIN)/camsweep quickstart --out $(OUT)

# Two processes, each with whole files of tests: most tests wait or use one core.
test: $(STAMP) lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# Every published direction on the embedded data, 5 seeds that no setting was chosen on: an hour on two
# cores. Run it again to go on. Not part of `make test`.
study: $(STAMP)
	$(BIN)/camsweep run study/directions --profile embedded --first-seed 100 --seeds 5 --store $(STUDY)
	$(BIN)/camsweep report study --store $(STUDY) --out $(STUDY)/report --format html,md

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
