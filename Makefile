# Two commands matter: `make run` opens the workstation, `make test` runs every test.
PYTHON ?= python3
VENV   := .venv
TEST_WORKERS ?= 2
PY     := $(VENV)/bin/python

.PHONY: run test lint clean

run: $(VENV)/.installed
	-$(PY) scripts/fetch_assets.py
	$(VENV)/bin/streamlit run app/main.py

test: $(VENV)/.installed-dev
	$(PY) scripts/fetch_assets.py
	$(PY) scripts/browser.py || true
	$(PY) -m pytest tests -n $(TEST_WORKERS) --dist loadfile

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/lint-imports && $(VENV)/bin/mypy engine models storage

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python requirements.txt pyproject.toml
	$(PY) -m pip install --quiet -r requirements.txt
	$(PY) -m pip install --quiet --no-deps -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(PY) -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
