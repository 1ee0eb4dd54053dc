"""Rows that counts do without: given up alone and only when the table takes others; a table that takes none is left."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from cassandra.concurrent import ExecutionResult

from connectors.figures import WriteFigures
from tests.support.fake_cassandra import FakeCassandra, FakeTime
from udfs.sinks import optional_rows
from udfs.sinks.optional_rows import LOOK_AGAIN_MAX_S, LOOK_AGAIN_S, PATIENCE_S, OptionalRows, Write

BATCH = 20


class Batch:
    """A statement of several rows."""

    def __init__(self, prepared: Any, rows: Sequence[int]) -> None:
        self.prepared_statement = prepared
        self.values = tuple(rows)


class Bench:
    """Rows of one table, which are numbers; batches of them in the fake."""

    def __init__(self) -> None:
        self.cassandra = FakeCassandra()
        self.time = FakeTime()
        self.figures = WriteFigures()
        self.bad: set[int] = set()
        self.cassandra.refuses = lambda rows: bool(self.bad & set(rows))
        self.rows: OptionalRows[int] = OptionalRows(
            self.cassandra, "titles", "INSERT INTO t (a) VALUES (?)", self._cut, self.figures, 4,
            clock=self.time.clock, sleep=self.time.sleep,
        )  # fmt: skip

    @staticmethod
    def _cut(prepared: Any, rows: Sequence[int]) -> Iterator[Write[int]]:
        for at in range(0, len(rows), BATCH):
            part = rows[at : at + BATCH]
            yield Write(Batch(prepared, part), None, part)

    @property
    def written(self) -> set[int]:
        return {row for batch in self.cassandra.rows.get("t", []) for row in batch}


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    with made.cassandra.driven():
        yield made


def test_a_bad_row_is_set_aside_alone(bench: Bench) -> None:
    bench.bad = {7, 31}
    assert bench.rows.write(range(100)) == []
    assert bench.written == set(range(100)) - bench.bad
    assert bench.figures.set_aside("titles") == 2
    assert not bench.rows.is_out


def test_a_bad_row_in_a_batch_of_its_own_is_told_from_a_table_that_takes_nothing(bench: Bench) -> None:
    # In the only batch that is refused, alone from the start: what was accepted is written once more, and accepted.
    bench.bad = {BATCH}
    assert bench.rows.write(range(BATCH + 1)) == []
    assert bench.figures.set_aside("titles") == 1
    assert bench.time.now_s < PATIENCE_S


def test_a_table_that_goes_in_the_middle_costs_no_row(bench: Bench) -> None:
    bench.bad = {BATCH}

    def dropped() -> None:
        bench.cassandra.missing = {"t"}

    bench.time.on_sleep = dropped
    assert bench.rows.write(range(BATCH + 1)) == [BATCH]
    assert bench.figures.set_aside("titles") == 0
    assert bench.rows.is_out


def test_a_table_that_is_not_there_is_left_out_and_taken_up_again(bench: Bench) -> None:
    bench.cassandra.missing = {"t"}
    assert bench.rows.write(range(100)) == list(range(100))
    assert PATIENCE_S <= bench.time.now_s < 2 * PATIENCE_S
    assert bench.figures.out == frozenset(("titles",))
    # Nothing is tried, and nobody waits, until it is time to look.
    attempts, at_s = bench.cassandra.attempts["t"], bench.time.now_s
    assert bench.rows.write([100]) == [100]
    assert (bench.cassandra.attempts["t"], bench.time.now_s) == (attempts, at_s)
    looks = 0
    for _ in range(1000):
        bench.time.now_s += 1
        looks += bench.rows.is_due
        assert bench.rows.write([1]) == [1]
    assert 1000 / LOOK_AGAIN_MAX_S - 2 < looks < 1000 / LOOK_AGAIN_S / 4
    bench.cassandra.missing = set()
    bench.time.now_s += LOOK_AGAIN_MAX_S
    assert bench.rows.write(range(100)) == []
    assert bench.written == set(range(100))
    assert (bench.rows.is_out, bench.figures.out, bench.figures.set_aside("titles")) == (False, frozenset(), 0)


def test_an_outage_costs_no_row_however_long_it_takes(bench: Bench) -> None:
    def back() -> None:
        bench.cassandra.away = bench.time.now_s < 20 * PATIENCE_S

    bench.cassandra.away = True
    bench.time.on_sleep = back
    bench.bad = {3}
    assert bench.rows.write(range(100)) == []
    assert bench.written == set(range(100)) - bench.bad
    assert bench.figures.set_aside("titles") == 1


def test_a_table_that_answers_nothing_while_cassandra_answers_is_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.cassandra, "execute", lambda _text: [])
    bench.cassandra.away = True
    assert bench.rows.write(range(3)) == [0, 1, 2]
    assert bench.rows.is_out


def test_what_is_no_failure_of_cassandra_is_raised(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> list[ExecutionResult]:
        return [ExecutionResult(False, ZeroDivisionError())]

    monkeypatch.setattr(optional_rows, "execute_concurrent", fails)
    with pytest.raises(ZeroDivisionError):
        bench.rows.write([1])
