# Needs python3 (3.11 or later), pip and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The CPU build of torch, named so that pip does not fetch the one with CUDA.
TORCH := torch==2.13.0

.PHONY: demo test docs torture bench schemas clean

demo: $(VENV)/demo.done
	$(BIN)/dof demo

test: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python schemas/generate.py --check
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -rs

docs: $(VENV)/test.done
	$(BIN)/mkdocs build --strict
	@echo "Next: $(BIN)/python -m http.server -d build/site 8000 --bind 127.0.0.1"

torture: $(VENV)/test.done
	$(BIN)/python -m tests.torture

bench: $(VENV)/bench.done
	$(BIN)/python -m benchmarks

schemas: $(VENV)/test.done
	$(BIN)/python schemas/generate.py

clean:
	rm -rf $(VENV) dof-demo

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.done: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --no-compile -e '.[train]'
	touch $@

$(VENV)/test.done: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --no-compile $(TORCH) -e '.[dev]'
	touch $@ $(VENV)/demo.done

$(VENV)/bench.done: $(VENV)/test.done
	$(BIN)/pip install --quiet --no-compile $(TORCH) -e '.[bench]'
	touch $@
