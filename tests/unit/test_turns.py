"""When results are handed on: turns within an interval, and when the job counts as behind."""

from udfs.logic.stream.time_rules import BEHIND_MS, is_behind, next_turn_ms

INTERVAL_MS = 1000
TURNS = 8


def test_a_turn_comes_within_one_interval_and_each_has_its_own_moment() -> None:
    for now_ms in (0, 1, 124, 125, 999, 1_767_225_600_123):
        moments = [next_turn_ms(now_ms, INTERVAL_MS, turn, TURNS) for turn in range(TURNS)]
        assert all(now_ms < at_ms <= now_ms + INTERVAL_MS for at_ms in moments)
        assert sorted(at_ms % INTERVAL_MS for at_ms in moments) == [n * INTERVAL_MS // TURNS for n in range(TURNS)]


def test_turns_of_one_come_an_interval_apart() -> None:
    first = next_turn_ms(12_345, INTERVAL_MS, 3, TURNS)
    assert next_turn_ms(first, INTERVAL_MS, 3, TURNS) == first + INTERVAL_MS
    assert next_turn_ms(first - 1, INTERVAL_MS, 3, TURNS) == first


def test_behind_is_more_than_a_minute() -> None:
    now_ms = 1_767_225_600_000
    assert not is_behind(now_ms, now_ms)
    assert not is_behind(now_ms - BEHIND_MS, now_ms)
    assert is_behind(now_ms - BEHIND_MS - 1, now_ms)
