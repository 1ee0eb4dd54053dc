"""Rates and gains from counters that only grow."""

from tools.demo.counters import Counters, CounterWindow


def filled(*samples: tuple[float, int]) -> CounterWindow:
    window = CounterWindow(window_s=60.0)
    for now_s, counted in samples:
        window.add(now_s, Counters(counted=counted))
    return window


def test_nothing_is_gained_before_the_second_sample() -> None:
    assert CounterWindow().gained(10.0) == Counters()
    assert CounterWindow().per_second(10.0)["counted"] == 0.0
    assert filled((5.0, 700)).gained(10.0).counted == 0
    assert filled((5.0, 700)).per_second(10.0)["counted"] == 0.0


def test_a_rate_is_over_the_time_that_has_really_passed() -> None:
    window = filled((0.0, 0), (1.0, 100), (2.0, 400))
    # There are no ten seconds yet, so the rate is that of two.
    assert window.per_second(10.0)["counted"] == 200.0
    assert window.per_second(1.0)["counted"] == 300.0


def test_an_uneven_sample_does_not_change_the_rate() -> None:
    # The last sample came late, and ten seconds before it there is none. So the rate is that of twelve seconds.
    window = filled((0.0, 0), (8.0, 800), (20.0, 2000))
    assert window.per_second(10.0)["counted"] == 100.0


def test_the_window_forgets_what_is_older_and_keeps_where_it_began() -> None:
    window = filled(*((float(second), second * 10) for second in range(1000)))
    assert window.gained(60.0).counted == 600
    assert window.gained(1e9).counted == 600
