# The two commands to begin with are `make run` and `make test`. Each first sets the clone up (bin/setup), which takes
# minutes the first time and no time afterwards.
.POSIX:
.SUFFIXES:
# The terminal's own Python variables are removed. With PYTHONDONTWRITEBYTECODE, for example, each test process would
# compile all of the code again.
PYTHON = env -u PYTHONDONTWRITEBYTECODE -u PYTHONHOME -u PYTHONPATH -u PYTHONSTARTUP .local/venv/bin/python
# Tests wait more than they compute, so two processes share the cores. Each stack belongs to one of them
# (tests/conftest.py).
PYTEST = $(PYTHON) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' Makefile | expand -t 14

setup: ## install the environment and the jars and compile the kernels, all in .local
	@bin/setup

setup-tests: ## install what tests alone need, too: the browser Chromium
	@bin/setup tests

run: setup ## start the local stack, the demo and the count job; Ctrl-C stops them
	@bin/vc run

up: setup ## start the local stack without the count job; Ctrl-C stops it
	@bin/vc up

upgrade: setup ## replace the running count job by this code, and check the ledger
	@bin/vc upgrade

rollup: setup ## count the archive into history and the tables of hours, days and totals
	@bin/vc rollup

audit: setup ## compare the stream's counts with history's; bin/vc audit --repair corrects them
	@bin/vc audit

down: setup ## stop what `make run` started, from another terminal
	@bin/vc down

status: setup ## show the parts of the stack with their ports and process ids
	@bin/vc status

clean-data: setup ## delete all data of `make run`
	@bin/vc clean-data

test: setup-tests ## run all tests but the nightly ones, on real parts
	@$(PYTEST)

test-unit: setup ## run the fast tests that need no server, with fewer examples of each property
	@$(PYTEST) --hypothesis-profile fast -m "not nightly and not slow" tests/unit tests/property

lint: setup ## run ruff, mypy and import-linter
	@.local/venv/bin/ruff check .
	@.local/venv/bin/ruff format --check .
	@.local/venv/bin/mypy
	@.local/venv/bin/lint-imports

docs: setup ## build the documentation site in .local/docs/site, and check its links
	@bin/docs

audit-demo: setup ## count hours by stream and batch while killed, and audit planted errors
	@$(PYTHON) -m tools.audit_demo

exact: setup ## count millions of events while everything is killed, and recount
	@$(PYTHON) -m tools.exact

fuzz: setup ## look for input that services and decoders cannot bear, for 3 minutes
	@$(PYTHON) -m tests.fuzz

nightly: setup-tests ## run what CI leaves out: the long tests, fuzz, audit-demo and exact
	@$(PYTHON) -m tools.nightly

bench: setup ## compare the throughput with Flink SQL and a simple PyFlink job
	@$(PYTHON) -m benchmarks.run

bench-ingest: setup ## measure what an event costs ingest, beside FastAPI and Go (needs Go)
	@$(PYTHON) -m benchmarks.ingest

bench-query: setup ## measure how fast counts are answered, beside an earlier commit and FastAPI (needs Go)
	@$(PYTHON) -m benchmarks.query

freshness: setup ## measure the time from an event's acknowledgement to its visible count
	@$(PYTHON) -m benchmarks.freshness

.PHONY: help setup setup-tests run up upgrade rollup audit audit-demo down status clean-data test test-unit lint docs exact fuzz nightly bench bench-ingest bench-query freshness
