"""The generator's prediction on cases small enough to count by hand."""

import numpy as np
import pytest

from tools.load.prediction import Fate, Prediction, Rules, cells
from tools.load.traffic import EVENT, MINUTE_MS, Block
from tools.load.vocabulary import video_names

VIDEOS = video_names(10)
RULES = Rules(salts=1, lateness_ms=10 * MINUTE_MS, future_skew_ms=MINUTE_MS, generation_ms=12 * MINUTE_MS)
# The start of a generation.
START_MS = 1_795_000_000_000 // RULES.generation_ms * RULES.generation_ms


class OneSalt:
    """Events one at a time: (origin, minutes after START_MS viewed at), sent at a minute."""

    def __init__(self) -> None:
        self.prediction = Prediction(RULES, VIDEOS, good_videos=10)
        self.rows: list[tuple[int, int, int, int, int]] = []

    def send(self, minute: float, viewed_minute: float, origin: int | None = None, video: int = 1) -> Fate:
        first = len(self.rows)
        at_ms = START_MS + int(minute * MINUTE_MS)
        row = (first if origin is None else origin, video, START_MS + int(viewed_minute * MINUTE_MS), 0, 0)
        self.rows.append(row)
        block = Block(first, np.array([row], EVENT), np.zeros((1, 16), np.uint8), at_ms, 1)
        self.prediction.record(0, at_ms)
        self.prediction.events(block)
        return Fate(int(self.prediction.fates[first]))


def test_each_fate_and_its_bounds() -> None:
    salt = OneSalt()
    assert salt.send(0, 0) is Fate.COUNTED
    assert salt.send(0, 1) is Fate.COUNTED
    assert salt.send(0, 1.001) is Fate.INVALID
    assert salt.send(0.5, 0, origin=0) is Fate.DUPLICATE
    assert salt.send(10.9, 0, origin=0) is Fate.DUPLICATE
    assert salt.send(10.99, 0.5) is Fate.COUNTED
    assert salt.send(11, 0.99) is Fate.LATE
    assert salt.send(11, 1) is Fate.COUNTED
    assert salt.send(11, 0, origin=0) is Fate.LATE
    assert salt.send(11, 11, video=10) is Fate.DEAD_LETTERED


def test_a_repeat_with_a_new_time_is_caught_for_this_generation_and_the_next() -> None:
    salt = OneSalt()
    assert salt.send(11, 11) is Fate.COUNTED
    assert salt.send(23.9, 23.9, origin=0) is Fate.DUPLICATE
    assert salt.send(24, 24, origin=0) is Fate.COUNTED
    assert salt.send(36, 36, origin=0) is Fate.DUPLICATE


def test_append_time_never_steps_back() -> None:
    salt = OneSalt()
    assert salt.send(11, 11) is Fate.COUNTED
    assert salt.send(0, 0.5) is Fate.LATE
    assert salt.prediction.closed_through_ms == START_MS + MINUTE_MS
    assert set(salt.prediction.ledger) == {(START_MS // MINUTE_MS + 11, 0)}


def test_the_ledger_adds_up_and_blocks_must_follow_each_other() -> None:
    salt = OneSalt()
    for minute in range(30):
        salt.send(minute, minute - 11 * (minute % 3), origin=0 if minute % 4 == 0 else None)
    for tally in salt.prediction.ledger.values():
        assert tally["received"] == sum(tally[fate.name.lower()] for fate in Fate)
    assert sum(tally["received"] for tally in salt.prediction.ledger.values()) == 30
    with pytest.raises(ValueError, match="in order"):
        salt.prediction.events(Block(5, np.zeros(1, EVENT), np.zeros((1, 16), np.uint8), START_MS, 1))


def test_cells_are_by_video_kind_and_minute() -> None:
    rows = [(0, 1, 0, 0, 0), (1, 1, 59_999, 0, 0), (2, 1, 60_000, 0, 0), (3, 1, 0, 1, 0), (4, 7, 0, 0, 0)]
    assert cells(np.array(rows, EVENT), VIDEOS) == {
        ("video-000001", "view", 0): 2,
        ("video-000001", "view", 1): 1,
        ("video-000001", "like", 0): 1,
        ("видео-000007", "view", 0): 1,
    }
