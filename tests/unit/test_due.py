"""One timer at a time for each key and purpose, and what a restored timer means."""

from udfs.operators.due import Due


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
