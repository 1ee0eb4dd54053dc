"""The operators' program needs settings alone: its help, what it says where a server is not there, and its twin."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

from schemas import jobs
from settings import Settings
from tests.support.docs_commands import ROOT
from tools import block_list
from tools.cli import app as local
from tools.ops import operating, viewers
from tools.ops.app import app

# Nothing listens there.
NOWHERE = "127.0.0.1:1"
KAFKA = "VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS"
ALL_HELP = """
import sys
from typer.testing import CliRunner
from tools.ops.app import app
for words in {words!r}:
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage" in done.output
print(*{{name.split(".")[0] for name in sys.modules}}, *sys.modules)
"""


def leaves(group: TyperGroup, *before: str) -> Iterator[tuple[tuple[str, ...], list[object]]]:
    """The words of each command, and the names and options of what it takes."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from leaves(command, *before, name)
        else:
            yield (*before, name), [(one.name, one.opts, one.secondary_opts) for one in command.params]


OPERATIONS = dict(leaves(typer.main.get_group(app)))


@pytest.mark.slow
def test_help_needs_no_stack_no_flink_and_no_client() -> None:
    groups = {words[:-1] for words in OPERATIONS}
    words = [list(one) for one in sorted({*groups, *OPERATIONS})]
    printed = subprocess.run(
        [sys.executable, "-c", ALL_HELP.format(words=words)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    loaded = set(printed.stdout.split())
    assert "tools.ops.app" in loaded
    assert not loaded & {
        "pyflink",
        "py4j",
        "tools.stack",
        "tools.cli",
        "confluent_kafka",
        "cassandra",
        "numba",
        "pyarrow",
    }


@pytest.mark.slow
def test_the_program_starts_from_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.ops", "replay", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "python -m tools.ops replay" in done.stdout


def test_the_local_command_line_has_every_command_with_the_same_options() -> None:
    here = dict(leaves(typer.main.get_group(local)))
    assert {words: here.get(words) for words in OPERATIONS} == OPERATIONS


@pytest.mark.parametrize(
    "command",
    [
        "block viewer",
        "unblock viewer",
        "blocked",
        "suspects --block",
        "metadata -",
        "erase viewer",
        "topics",
        "replay list",
        "replay show",
        "replay resubmit",
    ],
)
def test_a_kafka_that_is_not_there_is_one_line_with_its_setting(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KAFKA, NOWHERE)
    monkeypatch.setattr(operating, "KAFKA_ANSWERS_S", 0.1)
    done = CliRunner().invoke(app, command.split(), input="")
    (line,) = done.output.splitlines()
    assert line.startswith(f"no Kafka at {KAFKA}={NOWHERE}; check that it runs and that the address is right (")
    assert done.exit_code == 1


def test_a_cassandra_that_is_not_there_is_one_line_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIEW_COUNTS_CASSANDRA_HOSTS", "127.0.0.1")
    monkeypatch.setenv("VIEW_COUNTS_CASSANDRA_PORT", "1")
    done = CliRunner().invoke(app, ["history", "show"])
    (line,) = done.output.splitlines()
    assert line.startswith("no Cassandra at cassandra.hosts=127.0.0.1 port=1 ")
    assert done.exit_code == 1


@pytest.mark.slow
def test_an_object_store_that_is_not_there_is_one_line_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIEW_COUNTS_S3_ENDPOINT", f"http://{NOWHERE}")
    done = CliRunner().invoke(app, ["jobs", "savepoints", "s3://view-counts/savepoints/savepoint-1"])
    (line,) = done.output.splitlines()
    assert line.startswith(f"VIEW_COUNTS_S3_ENDPOINT=http://{NOWHERE}: ")
    assert done.exit_code == 1


def test_a_setting_that_is_refused_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIEW_COUNTS_COUNTING_SALTS", "many")
    done = CliRunner().invoke(app, ["blocked"])
    (line,) = done.output.splitlines()
    assert line.startswith("refused: VIEW_COUNTS_COUNTING_SALTS=many: ")
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("suspects --send", "can be given only with --block"),
        ("topics accept", "give names of differences"),
        ("topics check view-events", "give names of differences"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(command: str, complaint: str) -> None:
    done = CliRunner().invoke(app, command.split(), env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert complaint in done.output


@pytest.mark.parametrize(
    "job", [jobs.COUNT, jobs.ARCHIVE, jobs.PACK, jobs.ROLLUP, jobs.AUDIT], ids=lambda job: job.name
)
def test_each_job_has_its_file(job: jobs.Job) -> None:
    assert f"{job.file}" in {str(path.relative_to(ROOT)) for path in (ROOT / "jobs").glob("*.py")}


@contextmanager
def nothing_is_asked(*_errors: type[Exception], **_named: bool) -> Iterator[Settings]:
    yield Settings()


@pytest.mark.parametrize("command", ["block", "unblock"])
def test_viewers_can_come_by_standard_input(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """So that they are neither among the arguments of a process nor in the history of a shell."""
    given: list[list[str]] = []

    def note(_kafka: object, ids: Iterable[str], *_: object) -> int:
        given.append(list(ids))
        return 0

    monkeypatch.setattr(block_list, command, note)
    monkeypatch.setattr(viewers, "operating", nothing_is_asked)
    done = CliRunner().invoke(app, [command, "-"], input="viewer-17\nviewer-99\r\n")
    assert (done.exit_code, given) == (0, [["viewer-17", "viewer-99"]]), done.output
    empty = CliRunner().invoke(app, [command, "-"], input="", env={"COLUMNS": "200"})
    assert (empty.exit_code, "write one on each line" in empty.output, len(given)) == (2, True, 1)
