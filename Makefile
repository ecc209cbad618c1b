# make demo: train the digits.  make test: run the tests.  make lint: ruff and mypy.
# Each makes $(VENV) if it is missing and installs what it needs; again only when pyproject.toml changes.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Setuptools warns that the checkout shadows an installed copy of itself, which is what an editable install is for.
INSTALL = PYTHONWARNINGS=ignore $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test lint clean

demo: $(VENV)/.installed-examples
	$(BIN)/python examples/train_digits.py

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	.ci/typecheck $(BIN)/python

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[$*]'
	touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'lazyflow needs Python 3.11 or newer: run make PYTHON=/path/to/python3.11'; exit 1; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
