# Everything runs in .venv, made on first use; only Python (3.11 or newer) and pip are needed before.
PYTHON ?= python3
BIN := .venv/bin
# The versions that the tests run with; where pip finds a CPU build of that PyTorch, it is preferred to CUDA.
CONSTRAINTS ?= constraints/cpu.txt
# Two test processes share a small machine best with one thread each; three are a sixth faster, but tests of times may fail.
WORKERS ?= 2

.PHONY: demo test lint format sanitize thorough clean

demo: .venv/stamp-all
	$(BIN)/python -m nequix.demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --max-worker-restart 0

thorough: .venv/stamp-dev
	HYPOTHESIS_PROFILE=thorough OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --max-worker-restart 0

lint: .venv/stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/language/check.py
	$(BIN)/clang-format --dry-run --Werror $(SOURCES) $(HOSTS) $(wildcard tests/native/*.h tests/native/*.cpp)
	$(BIN)/pyright

sanitize: .venv/stamp-dev
	$(BIN)/python -m pytest tests/native/test_sanitizers.py

format: .venv/stamp-dev
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(SOURCES) $(HOSTS) $(wildcard tests/native/*.h tests/native/*.cpp)
	$(BIN)/ruff check --fix .

# Recompile when a source changes.
SOURCES := $(wildcard nequix/native/src/*.cpp nequix/native/src/*.h nequix/native/src/kernels/*)
HOSTS := $(wildcard nequix/lammps/src/*.cpp nequix/lammps/src/*.h examples/native/*.cpp)
NATIVE := $(SOURCES) nequix/native/src/CMakeLists.txt \
          nequix/native/generate.py nequix/native/sources.py nequix/core/coupling.py

.venv/stamp-%: pyproject.toml constraints/cpu.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[$*]"
	touch $@

clean:
	rm -rf .venv dist build .pytest_cache .ruff_cache .hypothesis
