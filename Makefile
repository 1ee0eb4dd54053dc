# Two commands: `make run` and `make test`. Each makes the clone ready first (bin/setup), which takes minutes the
# first time and no time afterwards.
.POSIX:
.SUFFIXES:
# Whatever Python's own variables say. Without bytecode that is kept, each process that tests would compile our code anew.
PYTHON = env -u PYTHONDONTWRITEBYTECODE -u PYTHONHOME -u PYTHONPATH -u PYTHONSTARTUP .local/venv/bin/python
# Tests wait more than they compute: two processes share the cores, and each stack is in one of them (tests/conftest.py).
PYTEST = $(PYTHON) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' Makefile | expand -t 14

setup: ## the environment, the jars and the compiled kernels, all in .local
	@bin/setup

run: setup ## everything, counting; Ctrl-C stops it
	@bin/vc run

up: setup ## everything but the count job; Ctrl-C stops it
	@bin/vc up

upgrade: setup ## replace the running count job by this code, and check the ledger across it
	@bin/vc upgrade

rollup: setup ## count what was archived, into hours, days and totals
	@bin/vc rollup

audit: setup ## compare the stream's counts with the archive's; bin/vc audit --repair mends them
	@bin/vc audit

down: setup ## stop what `make run` started, from another terminal
	@bin/vc down

status: setup ## parts, ports and process ids
	@bin/vc status

clean-data: setup ## forget all data of `make run`
	@bin/vc clean-data

test: setup ## every test but benchmarks and the nightly ones, on real parts
	@$(PYTEST)

test-unit: setup ## the tests that need no server, but for the slow ones, and fewer examples of each property
	@$(PYTEST) --hypothesis-profile fast -m "not nightly and not slow" tests/unit tests/property

lint: setup ## ruff, mypy, import-linter
	@.local/venv/bin/ruff check .
	@.local/venv/bin/ruff format --check .
	@.local/venv/bin/mypy
	@.local/venv/bin/lint-imports

docs: setup ## the documentation site in .local/docs/site, its links checked
	@bin/docs

audit-demo: setup ## count hours by stream and batch while killed, and audit planted errors
	@$(PYTHON) -m tools.audit_demo

exact: setup ## count millions of events while everything is killed, and recount
	@$(PYTHON) -m tools.exact

nightly: setup ## what CI leaves out: the long tests, audit-demo, exact; a summary at the end
	@$(PYTHON) -m tools.nightly

bench: setup ## throughput against Flink SQL and naive PyFlink
	@$(PYTHON) -m benchmarks.run

freshness: setup ## from acknowledged to visible, as a distribution
	@$(PYTHON) -m benchmarks.freshness

.PHONY: help setup run up upgrade rollup audit audit-demo down status clean-data test test-unit lint docs exact nightly bench freshness
