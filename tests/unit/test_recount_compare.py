"""The comparison finds every kind of difference, and nothing where there is none."""

from collections import Counter

import pytest

from schemas.varint import varint
from tools.recount.avro import UnreadableError, prefix, read, read_datum
from tools.recount.compare import by_hour, compare_cells, compare_ledger, compare_progress, compare_rejected
from tools.recount.rules import FATES

DATUM = bytes(range(16)) + varint(3) + b"abc" + varint(1000) + varint(4) + b"view" + b"\x00\x00\x00"


def tally(**fates: int) -> Counter[str]:
    return Counter({"received": sum(fates.get(name, 0) for name in FATES), **fates})


def test_cells_missing_surplus_and_wrong_are_found() -> None:
    expected = {("a", "view", 1): 3, ("b", "view", 1): 2, ("c", "view", 61): 1}
    found = {("a", "view", 1): 3, ("b", "view", 1): 4, ("d", "view", 1): 1}
    differences = compare_cells(expected, found)
    assert [(f.where.split()[0], f.expected, f.found) for f in differences] == [("b", 2, 4), ("c", 1, 0), ("d", 0, 1)]
    assert compare_cells(expected, expected) == []
    assert by_hour(expected) == {("a", "view", 0): 3, ("b", "view", 0): 2, ("c", "view", 1): 1}


def test_a_ledger_that_does_not_add_up_is_found_though_each_side_says_the_same() -> None:
    good = {(5, 0): tally(counted=7, late=2, records=1)}
    assert compare_ledger(good, good) == []
    bad = {(5, 0): Counter({"received": 10, "counted": 7})}
    assert [finding.what for finding in compare_ledger(bad, bad)] == ["ledger equation"]
    moved = {(6, 0): good[5, 0]}
    assert {finding.where.split(" salt")[0] for finding in compare_ledger(good, moved)} == {
        "1970-01-01 00:05",
        "1970-01-01 00:06",
    }


def test_a_record_of_no_salt_in_two_minutes_is_found() -> None:
    """As a replay left it while those of all partitions were one salt."""
    once = {(5, -1): tally(records=2, unreadable_records=2)}
    twice = {**once, (6, -1): tally(records=1, unreadable_records=1)}
    assert compare_ledger(once, once) == []
    assert {f.where for f in compare_ledger(once, twice)} >= {"total records", "total unreadable_records"}


def test_letters_missing_surplus_and_changed_are_found() -> None:
    event = read_datum("ViewEvent", DATUM)
    expected = {(0, 1, 0): event, (0, 2, -1): b"whole"}
    right = {(0, 1, 0): ("late", DATUM), (0, 2, -1): ("truncated", b"whole")}
    assert compare_rejected("late", expected, right) == []
    assert len(compare_rejected("late", expected, {(0, 1, 0): ("late", DATUM)})) == 1
    assert len(compare_rejected("late", expected, {**right, (0, 3, 0): ("late", DATUM)})) == 1
    assert len(compare_rejected("late", expected, {**right, (0, 1, 0): ("late", DATUM[:-1])})) == 1
    assert len(compare_rejected("late", expected, {**right, (0, 2, -1): ("truncated", b"hole")})) == 1


def test_a_shard_that_lags_or_is_missing_is_found() -> None:
    assert compare_progress(60_000, {0: 60_000, 1: 60_000}, 2) == []
    assert [f.found for f in compare_progress(60_000, {0: 0}, 2)] == [0, None]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"hello",
        prefix("ViewEvent", 1) + DATUM,
        prefix("ViewEvent", 1) + DATUM[:-1],
        prefix("ViewBatch", 1) + DATUM,
    ],
)
def test_only_a_whole_value_of_the_schema_is_read(value: bytes) -> None:
    if value == prefix("ViewEvent", 1) + DATUM:
        assert read("ViewEvent", value)["video_id"] == b"abc"
    else:
        with pytest.raises(UnreadableError):
            read("ViewEvent", value)
