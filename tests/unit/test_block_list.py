"""The block list: read from its topic's records, looked up by append time, and changed ahead of time only."""

import random
import tempfile
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.compacted_topic import Written
from schemas import registry
from settings import KafkaSettings
from tools import block_list as tool
from udfs.logic.kernels.memory_budget import Budget
from udfs.logic.stream import block_list, block_table
from udfs.logic.stream.block_list import FOR_GOOD_MS, PERIODS_MAX, BlockList, read_blocked, read_periods
from udfs.logic.stream.block_table import BlockTable, Period, is_blocked
from udfs.logic.wire.keyed_records import Keyed, Refusal


def value(viewer: str, *periods: tuple[int, int | None]) -> bytes:
    listed = [{"effective_from": begin, "effective_until": end} for begin, end in periods]
    return registry.encode("BlockedViewer", {"viewer_id": viewer, "periods": listed})


def rest(viewer: str, *periods: tuple[int, int | None]) -> bytes:
    found = read_blocked(viewer.encode(), value(viewer, *periods))
    assert isinstance(found, Keyed), found
    assert found.rest is not None
    return found.rest


def blocked(table: BlockTable, viewer: str, append_ms: int) -> bool:
    name = viewer.encode()
    # Somewhere in a longer buffer, as in a batch.
    buf = np.frombuffer(b"xx" + name + b"yy", np.uint8)
    return bool(is_blocked(buf, 2, len(name), append_ms, *table))


def test_periods_are_those_of_the_record() -> None:
    assert read_periods(rest("v", (5, 9), (20, None))) == [Period(5, 9), Period(20, FOR_GOOD_MS)]
    assert read_blocked(b"v", None) == Keyed("v", None)


@pytest.mark.parametrize(
    ("key", "record", "refusal"),
    [
        (None, value("v"), Refusal.NO_KEY),
        (b"w", value("v"), Refusal.KEY_DIFFERS_FROM_VALUE),
        (b"v" * 65, value("v" * 65), Refusal.KEY_TOO_LONG),
        (b"v", value("v")[:-1], Refusal.UNREADABLE),
        (b"v", value("v") + b"\0", Refusal.UNREADABLE),
        (b"v", b"", Refusal.UNKNOWN_SCHEMA),
        (b"v", value("v", (-1, None)), Refusal.TIME_OUT_OF_RANGE),
        (b"v", value("v", (9, 5)), Refusal.PERIOD_ENDS_BEFORE_IT_BEGINS),
        (b"v", value("v", *[(1, 2)] * (PERIODS_MAX + 1)), Refusal.TOO_LONG),
    ],
)
def test_a_bad_record_is_refused_with_its_reason(key: bytes | None, record: bytes, refusal: Refusal) -> None:
    assert read_blocked(key, record) is refusal


@given(st.binary(max_size=40), st.sampled_from([b"", registry.prefix("BlockedViewer"), value("v")[:-1]]))
def test_no_bytes_raise(noise: bytes, head: bytes) -> None:
    assert isinstance(read_blocked(b"v", head + noise), Keyed | Refusal)


def test_a_viewer_is_blocked_from_the_first_to_before_the_last_moment_of_each_period() -> None:
    made = BlockList()
    made.put(b"v", rest("v", (10, 20), (30, None)))
    assert [at for at in range(50) if blocked(made.table, "v", at)] == [*range(10, 20), *range(30, 50)]
    assert not blocked(made.table, "vv", 15)
    assert not blocked(made.table, "", 15)
    made.put(b"v", rest("v"))
    assert not blocked(made.table, "v", 15)
    made.put(b"v", None)
    assert len(made) == 0


@pytest.mark.parametrize("most_bytes", [None, 0])
@pytest.mark.parametrize("at_once", [1, 50, 10_000])
@pytest.mark.slow
def test_changes_one_by_one_come_to_what_a_list_made_at_once_is(
    monkeypatch: pytest.MonkeyPatch, at_once: int, most_bytes: int | None
) -> None:
    monkeypatch.setattr(block_list, "_CHANGES_AT_ONCE", at_once)
    budget = None if most_bytes is None else Budget(most_bytes, tempfile.gettempdir())
    r = random.Random(3)
    made, want = BlockList(budget), {}
    for step in range(4000):
        name = f"viewer-{r.randrange(60)}"
        periods = [(at, r.choice([None, at + 5])) for at in r.sample(range(40), r.randrange(4))]
        made.put(name.encode(), rest(name, *periods) if periods else None)
        want[name] = periods
        if step % 7 == 0:
            name, append = f"viewer-{r.randrange(60)}", r.randrange(50)
            assert blocked(made.table, name, append) == any(
                begin <= append and (end is None or append < end) for begin, end in want.get(name, [])
            )
    assert len(made) == sum(bool(periods) for periods in want.values())
    # What no viewer has any more does not pile up.
    assert len(made.table.periods) < 4 * 1024 * 2
    if budget is not None:
        assert budget.held_bytes == 0
        assert budget.spilled_bytes > 0


@pytest.mark.slow
def test_a_list_beyond_its_budget_lies_in_a_file_and_one_within_it_does_not() -> None:
    budget = Budget(1 << 20, tempfile.gettempdir())
    made = BlockList(budget)
    for n in range(2000):
        made.put(f"viewer-{n}".encode(), rest(f"viewer-{n}", (n, n + 1)))
    assert blocked(made.table, "viewer-7", 7)
    assert budget.spilled_bytes == 0
    for n in range(2000, 20_000):
        made.put(f"viewer-{n}".encode(), rest(f"viewer-{n}", (n, n + 1)))
    table = made.table
    assert all(blocked(table, f"viewer-{n}", n) for n in range(20_000))
    assert not any(blocked(table, f"viewer-{n}", n + 1) for n in range(20_000))
    assert len(made) == 20_000
    assert budget.held_bytes == 0
    # Of a name of 36 bytes and one period, docs/scaling.md says 100 bytes; of one of 12 it is less.
    assert 20_000 * 40 < budget.spilled_bytes < 20_000 * 120


def test_a_change_of_one_viewer_reads_and_writes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    made = BlockList()
    for n in range(3000):
        made.put(f"v{n}".encode(), rest(f"v{n}", (5, 9)))
    assert blocked(made.table, "v7", 5)
    placed: list[int] = []
    place = block_table._place

    def counted(*args: Any) -> Any:
        placed.append(len(args[-1]) - 1)
        return place(*args)

    monkeypatch.setattr(block_table, "_place", counted)
    for n in range(100):
        made.put(f"w{n}".encode(), rest(f"w{n}", (5, 9)))
        assert blocked(made.table, f"w{n}", 8)
    assert placed == [1] * 100


def test_many_viewers_are_found_and_no_other() -> None:
    r = random.Random(1)
    names = [f"viewer-{r.randrange(10**9)}" for _ in range(5000)]
    made = BlockList()
    for at, name in enumerate(names):
        made.put(name.encode(), rest(name, (at, at + 1)))
    last = {name: at for at, name in enumerate(names)}
    assert all(blocked(made.table, name, at) and not blocked(made.table, name, at + 1) for name, at in last.items())
    assert not any(blocked(made.table, f"other-{n}", n) for n in range(5000))


class Topic:
    """Stands for the topic: what was written last to each key, and when."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, written_after_ms: int = 0) -> None:
        self.records: dict[bytes, bytes] = {}
        self._late_ms = written_after_ms
        monkeypatch.setattr(tool, "read_to_end", lambda *_: self.records.items())
        monkeypatch.setattr(tool, "write", self._write)

    def _write(self, _servers: str, _topic: str, records: Any) -> Written:
        self.records.update(records)
        return Written(len(self.records), time.time_ns() // 1_000_000 + self._late_ms)


def test_blocking_and_unblocking_keep_what_was_and_change_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = KafkaSettings()
    Topic(monkeypatch).records[b"v"] = value("v", (1, 2))
    from_ms = tool.block(kafka, ["v", "w"])
    assert from_ms > time.time_ns() // 1_000_000 + 60_000
    assert tool.periods(kafka) == {
        "v": [Period(1, 2), Period(from_ms, FOR_GOOD_MS)],
        "w": [Period(from_ms, FOR_GOOD_MS)],
    }
    end_ms = tool.unblock(kafka, ["v"], from_ms + 500)
    assert tool.periods(kafka)["v"] == [Period(1, 2), Period(from_ms, end_ms)]
    # What would have begun later is dropped whole.
    tool.unblock(kafka, ["w"], from_ms)
    assert tool.periods(kafka)["w"] == []


def test_what_the_job_would_refuse_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Topic(monkeypatch)
    for viewer in ("", "v" * 65):
        with pytest.raises(tool.RefusedError, match="nothing was written"):
            tool.block(KafkaSettings(), ["good", viewer])
    assert topic.records == {}


def test_a_change_that_comes_too_early_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = KafkaSettings()
    topic = Topic(monkeypatch)
    now_ms = time.time_ns() // 1_000_000
    for change in (tool.block, tool.unblock):
        with pytest.raises(tool.TooEarlyError, match="less than a minute away"):
            change(kafka, ["v"], now_ms + 59_000)
    with pytest.raises(tool.TooEarlyError, match="choose a later end"):
        tool.block(kafka, ["v"], now_ms + 100_000, now_ms + 100_000)
    assert topic.records == {}
    Topic(monkeypatch, written_after_ms=40_000)
    with pytest.raises(tool.TooEarlyError, match="less than a minute before it takes effect"):
        tool.block(kafka, ["v"])
