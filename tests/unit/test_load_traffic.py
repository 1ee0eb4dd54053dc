"""The generator's traffic: the same on every run, with the repeats and the disorder it promises."""

import numpy as np
import pytest

from tools.load.traffic import MINUTE_MS, Plan, Traffic, TrafficSource

NOW_MS = 1_795_000_000_000


def source_of(blocks: int, n: int, step_ms: int = 1000, **settings: float) -> TrafficSource:
    source = TrafficSource(Traffic(**settings))  # type: ignore[arg-type]
    for number in range(blocks):
        source.block(n, NOW_MS + number * step_ms)
    return source


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    first, again, other = source_of(3, 5000), source_of(3, 5000), source_of(3, 5000, seed=2)
    assert np.array_equal(first.events, again.events)
    assert not np.array_equal(first.events, other.events)
    origins = first.events["origin"]
    assert np.array_equal(first.ids(origins), again.ids(origins))
    assert not set(map(bytes, first.ids(origins))) & set(map(bytes, other.ids(origins)))


def test_shares_are_as_asked_for_and_repeats_repeat() -> None:
    source = source_of(20, 5000, bad_share=0.01, late_share=0.02, future_share=0.01, duplicate_share=0.2)
    events = source.events
    shares = np.bincount(events["plan"], minlength=len(Plan)) / len(events)
    assert shares[Plan.LATE] == pytest.approx(0.02, abs=0.003)
    assert shares[Plan.FUTURE] == pytest.approx(0.01, abs=0.003)
    assert shares[Plan.BAD] == pytest.approx(0.01, abs=0.003)
    assert shares[Plan.REPEAT] + shares[Plan.RESTAMPED] == pytest.approx(0.2, abs=0.02)
    assert shares[Plan.RESTAMPED] > 0.01
    originals = events[events["origin"]]
    is_repeat = events["plan"] >= Plan.REPEAT
    assert np.array_equal(events["origin"] != np.arange(len(events)), is_repeat)
    assert (originals["plan"] < Plan.REPEAT).all()
    assert np.array_equal(originals["video"], events["video"])
    assert np.array_equal(originals["kind"], events["kind"])
    unchanged = events["plan"] != Plan.RESTAMPED
    assert np.array_equal(originals["viewed_at_ms"][unchanged], events["viewed_at_ms"][unchanged])
    assert (originals["plan"][~unchanged] == Plan.FRESH).all()
    assert len({bytes(i) for i in source.ids(events["origin"])}) == (~is_repeat).sum()


def test_restamped_repeats_are_of_young_originals_and_unchanged_ones_of_any_age() -> None:
    source = source_of(40, 2000, step_ms=MINUTE_MS, duplicate_share=0.2, restamp_age_max_ms=3 * MINUTE_MS)
    events = source.events
    block = np.arange(len(events)) // 2000
    age = block - block[events["origin"]]
    assert age[events["plan"] == Plan.RESTAMPED].max() == 3
    assert age[events["plan"] == Plan.RESTAMPED].min() >= 1
    assert age[events["plan"] == Plan.REPEAT].max() > 30
    assert age[events["plan"] == Plan.REPEAT].min() == 0


def test_fresh_events_are_out_of_order_but_never_early_nor_late() -> None:
    events = source_of(1, 10_000).events
    back = NOW_MS - events["viewed_at_ms"]
    fresh = events["plan"] == Plan.FRESH
    assert back[fresh].min() >= 0
    assert 3 * MINUTE_MS < back[fresh].max() <= 4 * MINUTE_MS
    assert (np.diff(events["viewed_at_ms"][fresh]) < 0).mean() > 0.3
    assert back[events["plan"] == Plan.LATE].min() >= 60 * MINUTE_MS
    assert back[events["plan"] == Plan.FUTURE].max() <= -9 * MINUTE_MS


def test_popularity_follows_zipf() -> None:
    counts = np.bincount(source_of(1, 100_000, videos=1000, zipf_exponent=1.0).events["video"], minlength=1000)
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.25)
