"""Whose clock is wrong by more than a minute takes no events until it is right."""

import pytest

from services.ingest.broker_clocks import BrokerClocks

NOW_MS = 1_767_268_800_000


def test_all_take_events_before_anything_is_known() -> None:
    clocks = BrokerClocks(2)
    assert [clocks.trouble(partition) for partition in range(2)] == [None, None]


@pytest.mark.parametrize("off_ms", [-60_000, -1000, 0, 60_000])
def test_a_minute_is_no_trouble(off_ms: int) -> None:
    clocks = BrokerClocks(1)
    clocks.acknowledged(0, NOW_MS + off_ms, NOW_MS)
    assert clocks.trouble(0) is None


@pytest.mark.parametrize(("off_ms", "said"), [(-61_000, "61 s behind"), (90_000, "90 s ahead of")])
def test_more_is_and_says_which_way(off_ms: int, said: str) -> None:
    clocks = BrokerClocks(2)
    clocks.acknowledged(0, NOW_MS + off_ms, NOW_MS)
    trouble = clocks.trouble(0)
    assert trouble is not None
    assert said in trouble
    assert "partition 0" in trouble
    assert clocks.trouble(1) is None


def test_it_ends_when_the_clock_is_right() -> None:
    clocks = BrokerClocks(2)
    for partition in range(2):
        clocks.acknowledged(partition, NOW_MS - 100_000, NOW_MS)
    clocks.acknowledged(1, NOW_MS, NOW_MS)
    assert [clocks.trouble(partition) is None for partition in range(2)] == [False, True]
