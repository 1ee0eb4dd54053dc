"""The sink's writer: what is counted by waits for as long as it is refused and says so; lists do not hold it up."""

from collections.abc import Iterator
from types import SimpleNamespace
from unittest import mock

import pytest

from connectors import acknowledged
from connectors.figures import WriteFigures
from settings import CassandraSettings
from tests.support.fake_cassandra import FakeCassandra, FakeTime
from udfs.logic.minutes.cells import Cell, dated_row
from udfs.sinks.cassandra_writer import LISTS, CountWriter, TopList
from udfs.sinks.optional_rows import PATIENCE_S

MINUTE = 29_400_000
ROWS = b"".join(dated_row(Cell(b"v%d" % n, b"view", MINUTE, n + 1)) for n in range(100))
TOP = TopList(b"view", "minute", MINUTE, 3, [(b"v", 3, 0)])


class Bench:
    """A writer whose waits move a clock."""

    def __init__(self) -> None:
        self.cassandra, self.time, self.figures = FakeCassandra(), FakeTime(), WriteFigures()

    def writer(self) -> CountWriter:
        made = CountWriter(self.cassandra, CassandraSettings(), "view_counts", 8, self.figures)
        made._top._clock, made._top._sleep = self.time.clock, self.time.sleep
        return made


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    with made.cassandra.driven():
        yield made


@pytest.mark.parametrize("table", ["views_by_minute", "ledger", "progress"])
def test_what_is_counted_by_waits_while_it_is_refused_with_an_alarm(
    bench: Bench, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    writer = bench.writer()
    attempts: list[int] = []
    waiting: list[int] = []

    def sleep(_seconds: float) -> None:
        attempts.append(bench.cassandra.attempts[table])
        waiting.append(bench.figures.waiting)
        if len(attempts) == 20:
            bench.cassandra.missing = set()

    bench.cassandra.missing = {table}
    with mock.patch("tenacity.nap.time", SimpleNamespace(sleep=sleep)):
        if table == "views_by_minute":
            writer.counts(ROWS)
        elif table == "ledger":
            writer.ledger([(0, MINUTE, *range(10))])
        else:
            writer.closed(0, MINUTE)
    assert len(attempts) == 20
    assert set(waiting) == {attempts[0]}
    assert bench.figures.refused == 20 * attempts[0]
    assert bench.figures.waiting == 0
    assert sum(bench.figures.set_aside(name) for name in (LISTS, table)) == 0
    assert f"Cassandra refuses {attempts[0]} writes to {table}; they and all counting wait" in caplog.text
    assert f"unconfigured table {table}" in caplog.text
    written = bench.cassandra.rows[table]
    assert (sum(batch.number for batch in written) == 100) if table == "views_by_minute" else (len(written) == 1)


def test_a_message_of_the_server_that_the_driver_has_no_exception_for_is_waited_for_too(bench: Bench) -> None:
    from cassandra.protocol import SyntaxException

    error = SyntaxException(0x2000, "no viable alternative", None)
    assert acknowledged.is_refusal(error)
    errors = [error] * 3
    writer = bench.writer()

    def next_error(_table: str) -> Exception | None:
        return errors.pop() if errors else None

    with mock.patch.object(bench.cassandra, "_error", next_error):
        writer.closed(0, MINUTE)
    assert bench.figures.refused == 3


def test_without_lists_everything_else_is_written(bench: Bench) -> None:
    # As after a restart.
    bench.cassandra.missing = {"top_videos"}
    writer = bench.writer()
    for _ in range(50):
        writer.counts(ROWS)
        writer.top(0, [TOP] * 10)
        writer.ledger([(0, MINUTE, *range(10))])
        writer.closed(0, MINUTE)
        bench.time.now_s += 1
    assert sum(batch.number for batch in bench.cassandra.rows["views_by_minute"]) == 50 * 100
    assert len(bench.cassandra.rows["ledger"]) == len(bench.cassandra.rows["progress"]) == 50
    assert sum(bench.time.slept) < 2 * PATIENCE_S
    assert bench.figures.set_aside(LISTS) == 500
    assert bench.figures.refused == 0
    bench.cassandra.missing = set()
    bench.time.now_s += 100
    writer.top(0, [TOP])
    assert len(bench.cassandra.rows["top_videos"]) == 1
