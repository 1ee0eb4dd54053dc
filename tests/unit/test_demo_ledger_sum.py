"""The ledger's running sum equals the sum of the newest row of every (minute, salt), whatever is read again."""

import random
from collections import Counter

import pytest

from tools.demo.ledger_sum import MINUTE_MS, LedgerRow, LedgerSum

SALTS = 4


def row(minute: int, salt: int, received: int) -> LedgerRow:
    numbers = Counter(received=received, counted=received - 1, duplicate=1, records=2 * received)
    return LedgerRow(minute * MINUTE_MS, salt, numbers)


def test_no_row_no_sum() -> None:
    accounts = LedgerSum()
    accounts.take([])
    assert accounts.totals() == Counter()
    assert accounts.open_from_ms is None


def test_a_row_read_again_replaces_itself() -> None:
    accounts = LedgerSum()
    accounts.take([row(10, 0, 5)])
    accounts.take([row(10, 0, 7)])
    assert accounts.totals() == Counter(received=7, counted=6, duplicate=1, records=14)


def test_the_slowest_salt_says_which_minutes_stay_open() -> None:
    accounts = LedgerSum()
    accounts.take([row(10, 0, 1), row(14, 0, 1), row(12, 1, 1)])
    assert accounts.open_from_ms == 11 * MINUTE_MS


def test_records_of_no_salt_hold_nothing_open() -> None:
    accounts = LedgerSum()
    accounts.take([row(3, -1, 2), row(10, 0, 5)])
    assert accounts.open_from_ms == 9 * MINUTE_MS
    assert accounts.totals()["received"] == 7


@pytest.mark.slow
def test_the_sum_is_that_of_the_table_though_only_open_minutes_are_read_again() -> None:
    for seed in range(50):
        r = random.Random(seed)
        table: dict[tuple[int, int], LedgerRow] = {}
        clock = dict.fromkeys(range(SALTS), 100)
        accounts = LedgerSum()
        for _ in range(60):
            for salt in range(SALTS):
                # A salt's time stands still, goes on, or leaps, and its row of that minute grows.
                clock[salt] += r.choice((0, 0, 1, 1, 5))
                key = (clock[salt], salt)
                before = table.get(key, row(*key, 1))
                table[key] = row(*key, before.numbers["received"] + r.randrange(1, 9))
            first_ms = accounts.open_from_ms
            accounts.take(each for each in table.values() if first_ms is None or each.minute_ms >= first_ms)
            for name in ("received", "records"):
                assert accounts.totals()[name] == sum(each.numbers[name] for each in table.values())
