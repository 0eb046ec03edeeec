# Everything a person types here. `make` alone lists the targets.
# Needs Python 3.11 or newer and make; everything else comes hashed from requirements.lock.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Set PYTHON=... to choose one; otherwise the first that runs and is new enough (a launcher of an
# absent version does not run, so each candidate is tried and not only looked up).
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATE ?= 2016-07-25
OUT ?= out/day
# One worker per core, at most four; what PYTEST_ARGS says comes later and wins (-n 0: one by one).
WORKERS := -n auto --dist loadfile --no-loadscope-reorder
PYTEST_ARGS ?=

.PHONY: help setup day test test-long test-quick bench-clearing bench-simbench bench-orders bench-ledger bench-tamper bench-settlement bench-sweep bench-margins bench-forecast bench-meters bench-store bench-api bench-chaos bench-closed-loop bench-scale bench-cluster bench-growth bench-evm check format coverage lock clean

help: ## list the targets
	@echo "Gridclear: the targets of this Makefile"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' \
		| while IFS='|' read -r target text; do printf '%-20s %s\n' "$$target" "$$text"; done

setup: $(STAMP) ## install everything into .venv (skipped while it is up to date)

$(STAMP): requirements.lock requirements-pip.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11 or newer found. Install one, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 2; fi
	@SECONDS=0; \
	[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV); \
	echo "Installing the locked packages into $(VENV) (a few minutes the first time) ..."; \
	install="$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps"; \
	$$install --require-hashes -r requirements-pip.lock; \
	$$install --no-compile --require-hashes -r requirements.lock; \
	$$install --no-build-isolation --editable .; \
	touch $(STAMP); \
	echo "Set-up took $$SECONDS s."

day: setup ## run one delivery day: DATE=2016-07-25 OUT=out/day
	@$(BIN)/dso day --date $(DATE) --out $(OUT)

test: setup ## run the tests (service tests that cannot run are listed with the reason)
	@$(BIN)/python -m pytest $(WORKERS) -m 'not long' $(PYTEST_ARGS)

test-long: setup ## run the proofs over many cases that take minutes each
	@$(BIN)/python -m pytest $(WORKERS) -m long $(PYTEST_ARGS)

test-quick: setup ## run the tests without those marked slow, service or browser
	@$(BIN)/python -m pytest $(WORKERS) -m 'not long and not slow and not service and not browser' $(PYTEST_ARGS)

bench-clearing: setup ## clear 1-MV-rural--2-sw on both days: time, objective, violation, price error
	@$(BIN)/python -m benchmarks.clearing

bench-simbench: setup ## clear ten SimBench grids, three scenarios, two days; goes on where it stopped
	@$(BIN)/python -m benchmarks.simbench_clearings --again

bench-orders: setup ## clear 10,000 orders, 200 blocks among them: time, memory, gap, choices cleared
	@$(BIN)/python -m benchmarks.orders

bench-ledger: setup ## ledger: durable appends against plain inserts, proofs at a million leaves
	@$(BIN)/python -m benchmarks.ledger

bench-evm: setup ## gas of the chain side on a local node: roots, certificates, inclusion checks
	@[ -d ledger_adapter/evm/node_modules ] || npm ci --prefix ledger_adapter/evm --no-fund --silent
	@$(BIN)/python -m benchmarks.evm

bench-tamper: setup ## tamper with a bundle 100,000 times, fuzz the parsers for ten minutes
	@$(BIN)/python -m benchmarks.tamper

bench-settlement: setup ## settle a year of 10,000 meters, streamed, two processes: time and memory
	@$(BIN)/python -m benchmarks.settlement

bench-meters: setup ## find theft, swaps and dead meters among forty households; false alarms
	@$(BIN)/python -m benchmarks.meters

bench-sweep: setup ## clear 24 variants of two studies in one and two processes: variants per minute
	@$(BIN)/python -m benchmarks.sweep

bench-margins: setup ## thirty days with margins at five quantiles, replayed as they went: limits broken, welfare
	@$(BIN)/python -m benchmarks.margins

bench-forecast: setup ## forecasts on public series: ours, naive, best known, coverage (DSO_REFERENCE_DATA)
	@$(BIN)/python -m benchmarks.forecast

bench-store: setup ## bulk rows per second of readings and trades, beside a plain COPY
	@$(BIN)/python -m benchmarks.store

bench-api: setup ## orders per second over sockets, single and bulk; 10,000 orders around a gate
	@$(BIN)/python -m benchmarks.api

DAYS ?= 7
KILLS ?= 50
FEEDER ?= 1-MV-rural--2-sw
bench-chaos: setup ## a week of the market, 50 kills: DAYS=7 KILLS=50 FEEDER=1-MV-rural--2-sw
	@$(BIN)/python -m benchmarks.chaos --days $(DAYS) --kills $(KILLS) --feeder $(FEEDER)

bench-closed-loop: setup ## a day of 192 devices over the broker, without and with correction (DSO_TEST_MQTT_URL)
	@$(BIN)/python -m benchmarks.closed_loop

bench-scale: setup ## medium and low voltage in one clearing: time, memory, growth with zones
	@$(BIN)/python -m benchmarks.scale

bench-cluster: setup ## 24 feeders on a local cluster, one worker and two; a worker killed, a scheduler lost
	@$(BIN)/python -m benchmarks.cluster

bench-growth: setup ## fit the cost of clearings to measured runs: what a million points need
	@$(BIN)/python -m benchmarks.growth

check: setup ## format, lint, types, import directions, nothing private committed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_committed_text.py

format: setup ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

coverage: setup ## run the tests and print the coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lock: setup ## write requirements.lock anew from pyproject.toml (names, versions, hashes only)
	$(BIN)/uv pip compile pyproject.toml --extra postgres --extra evm --extra dask --extra dev --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate \
		--quiet --output-file requirements.lock
	echo pip | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --quiet --output-file requirements-pip.lock

clean: ## remove what the targets made, the environment included
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .coverage .coverage.* ./*.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
