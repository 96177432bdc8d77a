# Two commands matter: `make run` opens the workstation, `make test` runs the tests; `make test TESTS=` also the long ones.
PYTHON ?= python3
VENV   := .venv
TEST_WORKERS ?= 2
TESTS ?= not long
PY     := $(VENV)/bin/python
COMPILE = $(PY) scripts/compile_kernels.py
# what the tests import is compiled once, also where the environment asks not to keep it
test: export PYTHONDONTWRITEBYTECODE =

.PHONY: run test lint clean

run: $(VENV)/.installed
	-$(PY) scripts/fetch_assets.py
	$(VENV)/bin/streamlit run app/main.py

test: $(VENV)/.installed-dev
	$(PY) scripts/fetch_assets.py
	$(PY) scripts/browser.py || true
	$(PY) -m pytest tests -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder -m "$(TESTS)"

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/lint-imports && $(VENV)/bin/mypy engine models storage

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# pip compiles one file after the other; compileall does it on every core.
$(VENV)/.installed: $(VENV)/bin/python requirements.txt pyproject.toml
	$(PY) -m pip install --quiet --no-compile -r requirements.txt
	$(PY) -m pip install --quiet --no-compile --no-deps -e .
	$(PY) -m compileall -q -j 0 $(VENV)/lib > /dev/null || true
	touch $@

# The kernels need numpy and numba alone: they compile while pip works.
$(VENV)/.installed-dev: $(VENV)/bin/python requirements.txt requirements-dev.txt pyproject.toml
	$(PY) -m pip install --quiet $$(grep -E '^(numpy|numba)==' requirements.txt)
	$(COMPILE) scans & $(COMPILE) decisions & \
		$(PY) -m pip install --quiet --no-compile -r requirements-dev.txt && \
		$(PY) -m pip install --quiet --no-compile --no-deps -e . && wait
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
