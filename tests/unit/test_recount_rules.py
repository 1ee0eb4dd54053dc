"""The recount and the load generator's prediction know nothing of each other: on the same records they agree."""

from collections import Counter

import numpy as np
import pytest

from schemas import limits
from tools.load.encoding import heartbeat, records
from tools.load.malformed import bad_records, foreign_records
from tools.load.prediction import Fate, Prediction, cells
from tools.load.prediction import Rules as LoadRules
from tools.load.traffic import MINUTE_MS, Traffic, TrafficSource
from tools.recount.rules import KIND_BYTES_MAX, VIDEO_ID_BYTES_MAX, Recount, Rules

SALTS = 4
PARTITIONS = 2
VIDEOS = 30
LATENESS_MS, SKEW_MS, GENERATION_MS = 10 * MINUTE_MS, MINUTE_MS, 12 * MINUTE_MS
START_MS = 1_795_000_000_000


@pytest.fixture(scope="module")
def both() -> tuple[Recount, Prediction, TrafficSource, int]:
    """100 minutes of traffic with every kind of harm, seen by both; and how many records could not be read."""
    traffic = Traffic(
        salts=SALTS, videos=VIDEOS, duplicate_share=0.3, restamped_share=0.3, late_share=0.03, late_ms=9 * MINUTE_MS,
        future_share=0.02, future_ms=0, bad_share=0.02, restamp_age_max_ms=90 * MINUTE_MS, disorder_ms=8 * MINUTE_MS,
    )  # fmt: skip
    source = TrafficSource(traffic)
    prediction = Prediction(LoadRules(SALTS, LATENESS_MS, SKEW_MS, GENERATION_MS), source.videos, good_videos=VIDEOS)
    recount = Recount(Rules(SALTS, PARTITIONS, LATENESS_MS, SKEW_MS, GENERATION_MS))
    steps = np.random.default_rng(3)
    offset = unreadable = 0

    def put(salt: int, key: bytes, value: bytes, at_ms: int) -> None:
        nonlocal offset
        recount.record(salt % PARTITIONS, offset, at_ms, key, value)
        offset += 1

    for step in range(100):
        now_ms = START_MS + step * MINUTE_MS
        block = source.block(200, now_ms)
        # The broker's clock sometimes steps back.
        at_ms = now_ms - steps.integers(0, 30_000, SALTS) * (steps.random(SALTS) < 0.2)
        for record in records(block, source.videos, events_per_batch=20):
            prediction.record(record.salt, int(at_ms[record.salt]))
            put(record.salt, record.salt.to_bytes(4, "big"), record.value, int(at_ms[record.salt]))
        prediction.events(block)
        for salt in range(SALTS):
            prediction.record(salt, now_ms)
            put(salt, salt.to_bytes(4, "big"), heartbeat(bytes(16), salt, SALTS, now_ms).value, now_ms)
        for bad in bad_records(step % SALTS, SALTS, now_ms):
            prediction.record(bad.salt, now_ms, unreadable=not bad.events, dead_lettered=bad.events)
            put(bad.salt, bad.key, bad.value, now_ms)
            unreadable += not bad.events
        for bad in foreign_records(step % SALTS, SALTS, now_ms):
            put(bad.salt, bad.key, bad.value, now_ms)
            unreadable += 1
    return recount, prediction, source, unreadable


def test_every_fate_happens_and_both_agree_on_the_ledger(
    both: tuple[Recount, Prediction, TrafficSource, int],
) -> None:
    recount, prediction, _, unreadable = both
    for tally in (*recount.ledger.values(), *prediction.ledger.values()):
        assert tally["received"] == sum(tally[fate.name.lower()] for fate in Fate)
    own = {place: +tally for place, tally in recount.ledger.items() if place[1] >= 0}
    assert own == {place: +tally for place, tally in prediction.ledger.items()}
    total = sum(recount.ledger.values(), Counter[str]())
    assert min(total[fate.name.lower()] for fate in Fate) > 20
    assert total["unreadable_records"] == unreadable


def test_both_agree_on_every_cell_and_every_id(both: tuple[Recount, Prediction, TrafficSource, int]) -> None:
    recount, prediction, source, _ = both
    counted = source.events[prediction.fates == Fate.COUNTED]
    assert dict(recount.cells) == cells(counted, source.videos)
    ids = [bytes(recount.counted_ids[at : at + 16]) for at in range(0, len(recount.counted_ids), 16)]
    assert sorted(ids) == sorted(bytes(identity) for identity in source.ids(counted["origin"]))
    # Some ids were counted anew, two generations later, with the new time their repeat carries.
    assert len(set(ids)) < len(ids)


def test_both_agree_on_what_is_closed_and_what_goes_to_which_topic(
    both: tuple[Recount, Prediction, TrafficSource, int],
) -> None:
    recount, prediction, _, unreadable = both
    assert recount.closed_through_ms == prediction.closed_through_ms
    assert len(recount.late) == int((prediction.fates == Fate.LATE).sum())
    assert sum(place[2] < 0 for place in recount.dead) == unreadable
    events = sum(place[2] >= 0 for place in recount.dead)
    assert events == int(np.isin(prediction.fates, (Fate.INVALID, Fate.DEAD_LETTERED)).sum()) + 100


def test_whoever_changes_a_limit_of_texts_changes_the_recount_too() -> None:
    assert (VIDEO_ID_BYTES_MAX, KIND_BYTES_MAX) == (limits.VIDEO_ID_BYTES_MAX, limits.KIND_BYTES_MAX)
