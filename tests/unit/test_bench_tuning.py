"""Knobs are turned between runs of the defaults, and compared with the two nearest of these."""

import os

import pytest

from benchmarks.tuning import DEFAULTS, TURNS, Turn, compared, environment, order
from settings import Settings


def test_every_turn_lies_between_two_runs_of_the_defaults() -> None:
    found = order(TURNS)
    assert [turn for turn in found if turn is not DEFAULTS] == list(TURNS)
    assert found[0] is found[-1] is DEFAULTS
    assert all(DEFAULTS in found[at : at + 4] for at in range(len(found) - 3))


def test_a_run_is_compared_with_the_nearest_defaults_and_drift_is_not_taken_for_an_effect() -> None:
    rates = [("defaults", 100.0), ("x", 110.0), ("y", 220.0), ("defaults", 120.0), ("z", 90.0), ("defaults", 60.0)]
    assert compared(rates) == [None, 1.0, 2.0, None, 1.0, None]


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: f"{turn.knob}-{turn.value}")
def test_what_is_turned_is_a_setting_that_the_product_accepts(turn: Turn) -> None:
    before = dict(os.environ)
    with environment(turn.environment):
        found = Settings().counting.model_dump()
        for name, value in turn.environment.items():
            assert found[name.removeprefix("VIEW_COUNTS_COUNTING_").lower()] == int(value)
    assert os.environ == before
