"""No command in the docs is untried: each is run by a test as it is written, or on the list of those that are not."""

import pytest

from tests.support.docs_commands import ROOT, Shown, blocks, shown_commands

CLUSTER = "Flink's own client, of a cluster; here the same job or option goes through the stack's client"
KEYS = "the same command with other names"
# By test_docs_examples.py, which asks each curl of these pages, and types each command of the stack's command line and
# of the operators' program that needs no job of Flink.
ASKED = ("README.md", "docs/api.md")
# Run as it is written: what in which file does so.
RUN = {
    "make run": ("tests/integration/test_run.py", '"tools.cli", "run"'),
    "make test": ("Makefile", "test: setup"),
    "make setup": ("Makefile", "setup: ##"),
    "make lint": (".ci/run", "make lint\n"),
    "make docs": (".ci/run", "make docs\n"),
    "bin/vc upgrade --parallelism 3": ("tests/integration/test_run.py", 'commands("upgrade", "--parallelism", '),
    "python -m services.drain": ("tests/support/drainers.py", '"-m", "services.drain"'),
    "python -m tools.ops topics check": ("tests/integration/test_ingest.py", 'topics_tool(stack, "check")'),
    "python -m tools.stack.provision topics": ("tools/stack/parts.py", '_provision("topics")'),
    "python -m tools.stack.provision tables register": ("tests/integration/test_rebuild.py", '"tables", "register"]'),
}
# Not as it is written: what comes nearest, and why.
NOT_RUN = {
    ".local/venv/bin/python -m pytest tests/unit/test_settings.py": (
        "tests/unit/test_settings.py",
        "one file of tests as an example, which CI runs among all others",
    ),
    "python -m tools.ops history repeats": (
        "tests/unit/test_history_store.py",
        "the same function with a history that has such repeats, which the demo's has not",
    ),
    "python -m tools.iceberg": (
        "tests/unit/test_iceberg.py",
        "the same command on a folder, told which manifest is in force",
    ),
    "python -m tools.iceberg --rebuild": (
        "tests/unit/test_iceberg.py",
        "the same command on a folder, told which manifest is in force",
    ),
    "kafka-configs --bootstrap-server HOST:9092 --alter --topic view-events --add-config segment.ms=86400000": (
        "schemas/topics.py",
        "Kafka's own command line, of a cluster with an old topic",
    ),
    "flink run --python jobs/rollup.py": ("tests/integration/test_rollup_and_audit.py", CLUSTER),
    "flink run --python jobs/audit.py": ("tests/integration/test_rollup_and_audit.py", CLUSTER),
    "flink run --python jobs/audit.py --repair": ("tests/integration/test_rollup_and_audit.py", CLUSTER),
    "flink run --detached --python jobs/view_counts.py": ("tests/integration/test_counting_path.py", CLUSTER),
    "flink run --detached --parallelism 1 --python jobs/archive_events.py": (
        "tests/integration/test_archive.py",
        CLUSTER,
    ),
    "flink stop JOB_ID": ("tests/upgrade/test_savepoints.py", CLUSTER),
    "flink run --detached --fromSavepoint PATH --python jobs/view_counts.py": (
        "tests/upgrade/test_savepoints.py",
        CLUSTER,
    ),
    "flink run --detached --fromSavepoint PATH --parallelism 4 --python jobs/view_counts.py": (
        "tests/upgrade/test_savepoints.py",
        CLUSTER,
    ),
    "flink run --parallelism 4 --python jobs/view_counts.py --check": ("tests/operators/test_graph.py", CLUSTER),
    "VIEW_COUNTS_PACK_SOURCE_TOPIC=plays VIEW_COUNTS_PACK_FRAMING=json flink run --detached --python "
    "jobs/pack_events.py": ("tests/integration/test_pack_events.py", CLUSTER),
    "python -m tools.ops balancer --ingest ingest-1:8080 --ingest ingest-2:8080 --query query-1:8090 --query "
    "query-2:8090": ("tests/unit/test_balancer_configuration.py", "the same command with other names"),
    "python -m tools.ops balancer --ingest-dns ingest:8080 --query-dns query:8090": (
        "tests/unit/test_balancer_configuration.py",
        "the same command, and its configuration for HAProxy itself",
    ),
    "python -m tools.ops accounts --tally http://ingest-1:8180 --tally http://ingest-2:8180": (
        "tests/unit/test_accounts.py",
        "two processes of ingest of a cluster",
    ),
    "python -m tools.ops keys add --scope write --project acme": ("tests/unit/test_keys_command.py", KEYS),
    "python -m tools.ops keys add --scope pubwrite --project acme --kind view --origin https://www.example.com "
    "--video-prefix acme-": ("tests/unit/test_keys_command.py", KEYS),
    "python -m tools.ops keys list": ("tests/unit/test_keys_command.py", KEYS),
    "python -m tools.ops keys withdraw KEY_ID --tell ingest-1:8180 --tell query-1:8190": (
        "tests/unit/test_keys_command.py",
        KEYS,
    ),
    "python -m tools.ops keys divert KEY_ID --tell ingest:8180": ("tests/unit/test_keys_command.py", KEYS),
    "bin/vc flink savepoint --dispose PATH": (
        "tests/unit/test_old_savepoints.py",
        "the path is that of somebody's savepoint",
    ),
}


@pytest.mark.slow
def test_every_command_is_run_or_says_why_not() -> None:
    untried = [
        shown
        for shown in shown_commands()
        if not (shown.command.startswith("curl ") and shown.page in ASKED)
        and shown not in typed_commands()
        and shown.command not in RUN
        and shown.command not in NOT_RUN
    ]
    assert untried == []


def typed_commands() -> list[Shown]:
    """Those of the stack's command line, and of the operators' program, that test_docs_examples.py types."""
    return [
        one
        for one in shown_commands()
        if one.command.startswith(("bin/vc ", "python -m tools.ops ")) and one.command not in {**RUN, **NOT_RUN}
    ]


def test_the_lists_have_nothing_that_the_docs_do_not_show() -> None:
    shown = {one.command for one in shown_commands()}
    assert sorted({*RUN, *NOT_RUN} - shown) == []
    assert typed_commands()


@pytest.mark.parametrize("command", sorted(RUN))
def test_what_is_said_to_run_it_does(command: str) -> None:
    file, words = RUN[command]
    assert words in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", sorted(NOT_RUN))
def test_what_is_not_run_has_something_near_it(command: str) -> None:
    file, why = NOT_RUN[command]
    assert (ROOT / file).is_file()
    assert why


def test_commands_are_found_in_every_kind_of_block_and_drawings_are_none() -> None:
    page = "```\nbin/vc up\n```\n- item\n\n  ```sh\n  curl a\n  ```\n\n```json\n{}\n```\n\n```\n a ──> b\n```\n"
    assert list(blocks(page)) == [["bin/vc up"], ["  curl a"], [" a ──> b"]]
