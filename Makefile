# Muster: every target installs what it needs into .venv.
# TORCH_INDEX=<url>  an extra package index with PyTorch's CPU wheels
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check
INDEX  := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
STAMP  := $(VENV)/.installed
REST   := .venv-rest
CODE   := api agent controller compression devices protos tests examples benchmarks scripts

.PHONY: setup demo test test-quick test-faults test-rest test-wheels test-tflite fmt lint type protos bench bench-compression clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "expected $(PYTHON) on the path, found none: install it, or run make PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "expected python's venv module with ensurepip; on Debian: apt-get install python3.11-venv"; exit 1; }
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(PIP) install -q $(INDEX) -c constraints.txt -e '.[all]'
	@sh scripts/install_mosquitto.sh
	@touch $@

demo: setup
	$(BIN)/muster demo $(DEMO_FLAGS)

# What a CI runs. MUSTER_TEST_LIMIT_S=<seconds, 2100 unless told>: what is not over by then is cut, with its stacks.
test: setup
	@$(MAKE) --no-print-directory -j2 lint type
	@rm -f .coverage .coverage.*
	@$(BIN)/python scripts/run_tests.py

test-quick: setup
	$(BIN)/pytest -q -m "not slow and not faults" -p no:cacheprovider

# Every test of docs/reliability.md and the long fault suites, more than an hour: >= 1,000 random kills among them.
# MUSTER_KILLS=<count>  MUSTER_KILLS_SEED=<number>  MUSTER_KILLS_JSON=<file for the histogram>
test-faults: setup $(REST)/.installed
	SCHEMATHESIS=$(abspath $(REST))/bin/schemathesis $(BIN)/python scripts/fault_table.py

# The REST API against its own description, by schemathesis (in a venv of its own), a minute or two.
test-rest: setup $(REST)/.installed
	SCHEMATHESIS=$(abspath $(REST))/bin/schemathesis $(BIN)/pytest tests/faults/rest -m faults -s -p no:cacheprovider

$(REST)/.installed: constraints.txt
	$(PYTHON) -m venv $(REST)
	$(REST)/bin/pip --disable-pip-version-check install -q -c constraints.txt schemathesis==4.32.5
	@touch $@

# The wheel on Python 3.10 to 3.13, and earlier versions with today's (docs/compatibility.md), half an hour or so.
# MUSTER_PYTHON_3_12=<path>  that Python;  MUSTER_REQUIRE_PYTHONS=1  one that is missing is a failure, no skip
test-wheels: setup
	$(BIN)/pytest tests/e2e/packaging -m "slow or faults" -s --durations=0 --durations-min=5 -p no:cacheprovider

test-tflite: setup
	$(BIN)/pytest tests/e2e/packaging/test_tflite_runtime.py -m faults -s -p no:cacheprovider

fmt: setup
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

lint: setup
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/lint-imports --no-cache

type: setup
	$(BIN)/mypy

protos:
	PYTHON=$(PYTHON) scripts/generate_protos.sh

# Run it on a quiet machine; ZOO=<folder of .onnx and .tflite files> adds the model zoo.
bench: setup
	$(BIN)/python benchmarks/footprint.py -o json
	$(BIN)/python benchmarks/transfer.py -o json
	$(BIN)/python benchmarks/join.py -o json
	$(BIN)/python benchmarks/ingest.py -o json
	$(BIN)/python benchmarks/soak.py -o json
	$(BIN)/python benchmarks/guard.py
	$(BIN)/python benchmarks/fallback.py -o json
	$(if $(ZOO),$(BIN)/python benchmarks/model_zoo.py --folder $(ZOO))

# Templates on real tasks, against controls and other tools: three hours on two quiet cores, minutes from its cache.
# DATA=<folder with vision/ and audio/>  CACHE=<folder>  BENCH_FLAGS='--task mnist --template edge' for a part of it
bench-compression: setup
	@test -n "$(DATA)" || { echo "expected DATA=<folder with vision/ and audio/>; see benchmarks/compression/prepare.py"; exit 2; }
	$(BIN)/python -m benchmarks.compression --data-folder $(DATA) $(if $(CACHE),--cache $(CACHE)) --write $(BENCH_FLAGS)

clean:
	rm -rf $(VENV) .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
