"""What an upgrade would find wrong with the ledger."""

from collections import Counter

from tools.upgrade import findings

BEFORE = {(100, 0): Counter(received=5, counted=4, late=1, records=2), (100, 1): Counter(records=3)}


def test_a_ledger_that_grew_and_balances_is_right() -> None:
    after = {
        **BEFORE,
        (100, 0): Counter(received=7, counted=4, late=1, dead_lettered=2, records=3),
        (101, 0): Counter(records=1),
    }
    assert findings(BEFORE, after, records_written=7) == []


def test_a_row_that_shrank_or_is_gone_is_found() -> None:
    after = {(100, 0): Counter(received=4, counted=3, late=1, records=2)}
    assert findings(BEFORE, after, records_written=9) == [
        "minute 100 salt 0: received went from 5 to 4",
        "minute 100 salt 0: counted went from 4 to 3",
        "minute 100 salt 1: records went from 3 to 0",
    ]


def test_an_event_without_a_fate_is_found() -> None:
    after = {**BEFORE, (101, 1): Counter(received=3, counted=2)}
    assert findings(BEFORE, after, records_written=9) == ["minute 101 salt 1: received 3, the sum of fates is 2"]


def test_records_read_twice_are_found() -> None:
    assert findings(BEFORE, BEFORE, records_written=4) == [
        "the ledger holds 5 records, the topic 4: some were read twice"
    ]
