# Four verbs do the daily work: setup, test, demo, bench. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
IN_VENV := $(VENV)/bin
PYTHON_READY := $(VENV)/.ready
ONCE ?=

# who starts a gate would wait for its code to be compiled anew each time, and so would hundreds of tests
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help new-enough setup node-packages test test-clocks lint format demo walk differential bench soak long-search weather loop-watch \
	crash-loop attack fuzz-cost fuzz audit sbom clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(PYTHON_READY) node-packages ## everything needed, from package registries; instant the second time

new-enough:
	@$(PYTHON) -c 'import sys; sys.exit("sessiongate needs Python 3.11 or newer; try make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'

$(PYTHON_READY): requirements-dev.lock pyproject.toml | new-enough
	$(PYTHON) -m venv $(VENV)
	$(IN_VENV)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	$(IN_VENV)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# npm knows best what is missing; the script looks before it asks. It needs no package: `make -j2` brings both kinds at once
node-packages: new-enough
	@$(PYTHON) -m tests.e2e.rig

# a test that hangs ends with where it hung, and fails
test: setup lint ## lint, types and every test, the end-to-end flows included; BESIDE=n at a time
	$(IN_VENV)/python -m pytest -n $(or $(BESIDE),2) --dist loadscope -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

test-clocks: setup ## the suite on a Sunday night, at the end of a month, at both changes of summer time
	$(IN_VENV)/python -m tests.clocks

lint: $(PYTHON_READY) ## ruff and mypy
	$(IN_VENV)/ruff check --quiet .
	$(IN_VENV)/ruff format --check --quiet .
	$(IN_VENV)/mypy --strict --no-error-summary proxy

format: $(PYTHON_READY) ## put all Python into shape
	$(IN_VENV)/ruff format .
	$(IN_VENV)/ruff check --fix .

demo: setup ## a session's story, live, on this machine; ONCE=1 ends after it
	@$(IN_VENV)/python -m tests.e2e.demo $(if $(ONCE),--once)

walk: setup ## what ops live by, on the live rig: Prometheus, Alertmanager and the gate, without containers
	@$(IN_VENV)/python -m tests.e2e.walk
	@$(IN_VENV)/python -m tests.e2e.walk_alerts

bench: setup ## beside aiohttp, nginx, haproxy and lean proxies: requests/s, latency, CPU, by kind, part and depth; QUICK=1
	@$(IN_VENV)/python -m tests.bench $(if $(KEEP),--keep)

differential: setup ## seeded operations put to accounts and to the gate's judging: SEEDS=1-10, 120 of each
	@$(IN_VENV)/python -m tests.e2e.differential $(or $(SEEDS),1-10)

soak: setup ## mixed load for SECONDS=n: memory, tasks, sockets and files stay flat
	@$(IN_VENV)/python -m tests.bench.soak --seconds $(or $(SECONDS),120)

long-search: setup ## the ledger's state machine for long, with a node and without, and what nothing may take more for; EXAMPLES=n
	LEDGER_EXAMPLES=$(or $(EXAMPLES),10000) $(IN_VENV)/python -m pytest -q tests/properties/test_ledger_machine.py
	FLAT_IN_FLIGHT=100000 $(IN_VENV)/python -m pytest -q tests/flat

weather: setup ## one neighbour after the other fails, for SECONDS=n: nothing lost, overspent or grown; SEED=n
	@$(IN_VENV)/python -m tests.weather --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1)

loop-watch: setup ## what holds the loop of a running gate longest, with 100,000 sessions and 200,000 operations settled
	@$(IN_VENV)/python -m tests.flat.loop

crash-loop: setup ## gates killed under load, before bundlers that lose answers and chains that go back; LIVES=n, SEED=n, SEEDS=n
	CRASH_LIVES=$(or $(LIVES),600) CRASH_SEED=$(or $(SEED),9) $(IN_VENV)/python -m pytest -q tests/chaos/test_crash_loop.py tests/chaos/test_crash_loop_with_node.py
	PYTHONHASHSEED=0 CRASH_SEEDS=$(or $(SEEDS),100) $(IN_VENV)/python -m pytest -q tests/chaos/test_lives_in_virtual_time.py

attack: setup ## a good client beside addresses that take all they can get, for SECONDS=n; TRANSPORT=lean, WAYS=each
	@$(IN_VENV)/python -m tests.attack --seconds $(or $(SECONDS),20) --transport $(or $(TRANSPORT),lean) $(if $(WAYS),--ways $(WAYS))

fuzz-cost: setup ## look for requests that cost more than they may; ROUNDS=n, SEED=n, RULES=n, PART=1/4 for one of four
	@$(IN_VENV)/python -m tests.cost.search $(or $(ROUNDS),2000) $(or $(SEED),1) $(or $(RULES),10000) $(or $(PART),1/1)

.venv-fuzz/.ready: requirements-dev.lock tests/fuzz/requirements.txt
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/fuzz/requirements.txt
	touch $@

.venv-audit/.ready: tests/supply/requirements.txt
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

fuzz: .venv-fuzz/.ready ## whatever reads what strangers send, guided by coverage; SECONDS=n for each, TARGET=name for one
	@.venv-fuzz/bin/python -m tests.fuzz $(or $(SECONDS),300) $(TARGET)

audit: .venv-audit/.ready ## known faults of what the gate is built from, and what bandit says of its code
	@.venv-audit/bin/python -m tests.supply.audit .venv-audit/bin

sbom: .venv-audit/.ready ## dist/sbom.json: everything in the gate's lock, as CycloneDX
	@mkdir -p dist
	@PYTHONWARNINGS=ignore .venv-audit/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom.json requirements.lock

clean: ## all that was installed or built here
	rm -rf $(VENV) .venv-fuzz .venv-audit dist tests/e2e/node_modules tests/e2e/build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
