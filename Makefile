# On a machine with only Python >= 3.11 and make: `make demo` trains, `make test` tests.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The product's own loops are small: one thread per test process keeps two processes from fighting.
TEST_JOBS ?= 2

.PHONY: demo test check format clean cora-table

demo: $(READY)
	$(BIN)/hypersst train --method full
	$(BIN)/hypersst train --method sst --rank 1

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(TEST_JOBS) --dist worksteal

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The table of the README, from real data: HYPERSST_DATA names the folder, or the files are downloaded.
cora-table: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/hypersst bench cora --jobs 2 --compile
	$(BIN)/hypersst report cora --into README.md

$(READY): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hypersst needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
