# Two commands do everything on a machine with Python 3.11+, pip and make: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test programs check bench format clean

demo: $(VENV)/installed
	$(BIN)/devi demo

test: $(VENV)/installed-test programs
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# Tests of pages need Chromium, one of the files h5dump. CI installs Debian's; elsewhere, without them, those are skipped.
programs:
	@if [ "$$CI" = true ] && command -v apt-get >/dev/null && ! (which chromium && which h5dump) >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq chromium hdf5-tools >/dev/null; fi

check: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What is said of speed, each script with few rounds; alone, and with --write, see benchmarks/README.md.
bench: $(VENV)/installed-test
	cd benchmarks && for script in "startup.py" "sampling_speed.py --rounds 2" "checkpoint_cost.py --rounds 1" \
		"analyze_cost.py --rounds 1" "transformer_training.py" "transformer_forward.py" "train_seeds.py --rounds 3" \
		"sampling_profile.py" "sampling_limit.py" "roofline.py"; do \
		echo "== $$script"; ../$(BIN)/python -W ignore $$script || exit 1; done

format: $(VENV)/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "devi needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# torch first and by itself: an index that offers a CPU build is then used, and nothing pulls the CUDA packages in.
$(VENV)/torch: $(VENV)/bin/python constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/torch pyproject.toml
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,dev]'
	touch $@ $(VENV)/installed
