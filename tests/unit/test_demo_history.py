"""Rates and gains from cumulative counters."""

from tools.demo.history import Counters, History


def filled(*samples: tuple[float, int]) -> History:
    history = History(window_s=60.0)
    for now_s, counted in samples:
        history.add(now_s, Counters(counted=counted))
    return history


def test_nothing_is_gained_before_the_second_sample() -> None:
    assert History().gained(10.0) == Counters()
    assert History().per_second(10.0)["counted"] == 0.0
    assert filled((5.0, 700)).gained(10.0).counted == 0
    assert filled((5.0, 700)).per_second(10.0)["counted"] == 0.0


def test_a_rate_is_over_the_time_that_has_really_passed() -> None:
    history = filled((0.0, 0), (1.0, 100), (2.0, 400))
    # Younger than the ten seconds asked for: over two.
    assert history.per_second(10.0)["counted"] == 200.0
    assert history.per_second(1.0)["counted"] == 300.0


def test_an_uneven_sample_does_not_change_the_rate() -> None:
    # The last look came late, so that ten seconds back lies between two samples: it is over twelve seconds.
    history = filled((0.0, 0), (8.0, 800), (20.0, 2000))
    assert history.per_second(10.0)["counted"] == 100.0


def test_the_window_forgets_what_is_older_and_keeps_where_it_began() -> None:
    history = filled(*((float(second), second * 10) for second in range(1000)))
    assert history.gained(60.0).counted == 600
    assert history.gained(1e9).counted == 600
