"""Load and harm wait for each other where they must, and never for ever."""

import threading

import pytest

from tools.exact.turns import AbortedError, Turns


def test_the_load_goes_on_during_an_outage_for_one_stage_only() -> None:
    turns = Turns(events=400, kills=2)
    assert turns.may_send()
    turns.sent(100)
    assert turns.wait_to_kill(0, 1) == 100
    turns.sent(199)
    assert turns.may_send()
    turns.sent(200)
    assert not turns.may_send()
    turns.recovered()
    assert turns.may_send()
    assert turns.wait_to_kill(1, 1) == 200
    turns.sent(300)
    assert not turns.may_send()
    turns.recovered()
    assert turns.may_send()


def test_a_kill_waits_for_its_share_of_the_load() -> None:
    turns = Turns(events=400, kills=2)
    turns.sent(99)
    with pytest.raises(TimeoutError, match="99 of 400"):
        turns.wait_to_kill(0, 0.01)
    threading.Timer(0.05, turns.sent, [100]).start()
    assert turns.wait_to_kill(0, 30) == 100


def test_nothing_to_kill_holds_nothing_back() -> None:
    turns = Turns(events=400, kills=0)
    turns.sent(399)
    assert turns.may_send()


def test_a_failure_of_either_side_ends_the_other() -> None:
    turns = Turns(events=400, kills=1)
    threading.Timer(0.05, turns.abort).start()
    with pytest.raises(AbortedError):
        turns.wait_to_kill(0, 30)
    with pytest.raises(AbortedError):
        turns.may_send()
