"""One timer at a time for each key and purpose, what a restored timer means, and how often something may be done."""

from udfs.operators.due import Allowance, Due


class Timers:
    """Keeps what is registered."""

    def __init__(self) -> None:
        self.registered: list[int] = []

    def register_processing_time_timer(self, at_ms: int) -> None:
        self.registered.append(at_ms)


def test_one_timer_at_a_time_and_only_its_own_timestamp_takes_it() -> None:
    due, timers = Due(), Timers()
    due.arm(timers, 1, 500)
    due.arm(timers, 1, 700)
    due.arm(timers, 2, 500)
    assert timers.registered == [500, 500]
    assert not due.take(1, 499)
    assert due.take(1, 500)
    assert not due.take(1, 600), "nothing is armed: that timer was for another purpose"
    due.arm(timers, 1, 800)
    assert timers.registered == [500, 500, 800]
    assert due.take(1, 900), "a late timer"


def test_the_first_timer_of_a_key_that_this_life_of_the_job_did_not_arm_is_for_every_purpose() -> None:
    due = Due()
    assert due.take(1, 500)
    assert not due.take(1, 600)
    assert due.take(2, 600)


def test_an_allowance_grows_with_time_up_to_a_few_at_once() -> None:
    allowance = Allowance(3)
    assert not allowance.take(1, 10_000, 100), "empty at first"
    assert not allowance.take(1, 10_050, 100)
    assert allowance.take(1, 10_100, 100)
    assert not allowance.take(1, 10_150, 100)
    assert [allowance.take(1, 20_000, 100) for _ in range(5)] == [True, True, True, False, False]
    assert not allowance.take(2, 20_000, 100), "each key has its own"


def test_over_a_long_time_it_is_once_an_interval() -> None:
    allowance = Allowance(4)
    taken = sum(allowance.take(1, now_ms, 200) for now_ms in range(0, 100_000, 7))
    assert 495 <= taken <= 504
