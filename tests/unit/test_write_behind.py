"""Writes behind their caller: in order for a key, side by side for several, waited for when asked, no error lost."""

import threading
from collections.abc import Callable

import pytest

from connectors.write_behind import WriteBehind

PATIENCE_S = 30.0


def test_the_caller_goes_on_and_settle_waits() -> None:
    behind = WriteBehind()
    may_end, ended = threading.Event(), threading.Event()

    def write() -> None:
        assert may_end.wait(PATIENCE_S)
        ended.set()

    behind.submit("a", write)
    behind.settle("another")
    assert not ended.is_set()
    may_end.set()
    behind.settle("a")
    assert ended.is_set()
    behind.settle_all()


def test_a_key_s_writes_come_one_after_the_other_and_those_of_two_side_by_side() -> None:
    behind = WriteBehind()
    b_runs = threading.Event()
    order: list[str] = []
    # Ends only while b's write runs too.
    behind.submit("a", lambda: order.append(f"first {b_runs.wait(PATIENCE_S)}"))
    behind.submit("b", b_runs.set)
    behind.submit("a", lambda: order.append("second"))
    behind.settle_all()
    assert order == ["first True", "second"]


def test_what_a_write_raises_reaches_the_caller() -> None:
    behind = WriteBehind()

    def refuse() -> None:
        raise ValueError("no such column")

    behind.submit("a", refuse)
    with pytest.raises(ValueError, match="no such column"):
        behind.submit("a", lambda: None)
    settles: list[Callable[[], None]] = [lambda: behind.settle("a"), behind.settle_all]
    for settle in settles:
        behind.submit("a", refuse)
        with pytest.raises(ValueError, match="no such column"):
            settle()
