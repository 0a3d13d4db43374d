# Everything is made from nothing: Python 3.11+, pip and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip works on the environment from outside, so that Debian's Python without ensurepip does too.
# dkimpy, which judges our signatures in tests, has no wheel; it is pure Python and needs no compiler.
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check install --quiet --only-binary=:all: --no-binary=tracepost,dkimpy

.PHONY: run test check long kill-loop bench clean

run: $(VENV)/.run
	$(BIN)/tracepost serve -c config.example.yaml

test: $(VENV)/.test
	$(BIN)/python -m pytest

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

long: $(VENV)/.test
	$(BIN)/python -m pytest -m "long or hypothesis" --hypothesis-profile=others --override-ini addopts=-ra

kill-loop: $(VENV)/.test
	$(BIN)/python -m tests.endurance.kill_loop 200 docs/kill-loop.md

bench: $(VENV)/.test
	$(BIN)/python bench/html.py
	$(BIN)/python bench/relay.py
	$(BIN)/python bench/reports.py
	$(BIN)/python bench/events.py
	$(BIN)/python bench/webhooks.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tracepost needs Python 3.11 or newer; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) build *.egg-info
