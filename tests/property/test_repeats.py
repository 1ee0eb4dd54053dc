"""Property: what repeats an id is told apart from what is another event, however the stream is cut into slices."""

import collections
import random
import uuid
from collections.abc import Collection, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.random_streams import NOW_MS, RULES, encode
from tests.support.records import salt_of
from tests.support.tiers import examples
from udfs.logic.kernels.id_index import Ids
from udfs.logic.slices.repeats import SeenIds
from udfs.logic.slices.slice_counts import SliceCounter, SliceCounts
from udfs.logic.stream.block_table import NOBODY
from udfs.logic.stream.dedup import SaltDedup

Event = tuple[bytes, str, str, int]
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
WAYS = ("same", "restamped", "conflicting", "fresh")


def event_id(r: random.Random) -> bytes:
    """One of salt 0."""
    while True:
        found = uuid.UUID(int=r.getrandbits(128)).bytes
        if salt_of(found, RULES.salts) == 0:
            return found


def stream(r: random.Random, records: int) -> tuple[list[tuple[int, list[Event]]], collections.Counter[str]]:
    """(append time, events) of each record, and by the maker's own account what its repeats are."""
    found: list[tuple[int, list[Event]]] = []
    sent: list[Event] = []
    truth: collections.Counter[str] = collections.Counter()
    # Over an hour's end, so that what is repeated may have been viewed in the hour before.
    at = NOW_MS // HOUR_MS * HOUR_MS - records * MINUTE_MS // 40
    for _ in range(records):
        at += r.randrange(MINUTE_MS // 20)
        events: list[Event] = []
        # Some records are repeats and nothing else.
        ways = r.choice([WAYS, WAYS[:3]])
        for _ in range(r.randrange(1, 6)):
            way = r.choice(ways) if sent else "fresh"
            if way == "fresh":
                events.append(
                    (event_id(r), f"v{r.randrange(3)}", r.choice(["view", "like"]), at - r.randrange(MINUTE_MS))
                )
                sent.append(events[-1])
                continue
            identity, video, kind, viewed = r.choice(sent)
            if way == "restamped":
                viewed += r.choice([-1, 1, 30_000])
            if way == "conflicting":
                video, kind = r.choice([(f"{video}x", kind), (video, f"{kind}x"), (video[:-1], video[-1] + kind)])
                viewed += r.choice([0, 1])
            events.append((identity, video, kind, viewed))
            truth[way] += 1
        found.append((at, events))
    return found, truth


def count(records: list[tuple[int, list[Event]]], cuts: list[int], *, forgets: bool = False) -> list[SliceCounts]:
    """The slices that these records come to, cut before these. `forgets`: they keep no subjects, as those of old."""
    slices: list[SliceCounts] = []
    dedups: dict[int, SaltDedup] = {}
    known: list[SeenIds] = []

    def newest(hours: Collection[int], _ids: Ids) -> Iterator[SeenIds]:
        for one in reversed(known):
            rows = np.isin(one.hours, list(hours))
            subjects = None if forgets or one.subjects is None else one.subjects[rows]
            yield SeenIds(one.ids[rows], one.viewed_ms[rows], subjects)

    for first, end in zip([0, *cuts], [*cuts, len(records)], strict=True):
        counter = SliceCounter(
            RULES, partition=0, partitions=1, blocks=NOBODY, late_ms_max=1 << 50, viewed_ms_min=0, dedups=dedups
        )
        for at, events in records[first:end]:
            counter.count(bytes(4), encode(0, events, at), at)
        made = counter.finish(lambda hour, ids: newest([hour], ids), newest=newest)
        slices.append(made)
        known.append(made.known)
    return slices


@examples(full=40, fast=6)
@given(st.integers(0, 1 << 30), st.integers(2, 60), st.data())
def test_repeats_are_what_their_sender_made_them(seed: int, number: int, data: st.DataObject) -> None:
    records, truth = stream(random.Random(seed), number)
    cuts = sorted(data.draw(st.sets(st.integers(1, number - 1), max_size=4)))
    slices = count(records, cuts)
    found: collections.Counter[str] = collections.Counter()
    for one in slices:
        found += one.repeats
    assert found == truth
    named = {(row["event_id"], row["video_id"], row["kind"]) for one in slices for row in one.samples.to_pylist()}
    assert named <= {(identity, video, kind) for _, events in records for identity, video, kind, _ in events}
    assert sum(len(one.samples) for one in slices) == truth["conflicting"] + truth["restamped"]


def test_what_was_counted_by_slices_without_hashes_cannot_be_judged() -> None:
    identity = event_id(random.Random(1))
    first = (NOW_MS, [(identity, "a", "view", NOW_MS)])
    again = (NOW_MS + 1, [(identity, "b", "view", NOW_MS)] * 2)
    assert count([first, again], [1])[1].repeats == {"conflicting": 2}
    assert count([first, again], [1], forgets=True)[1].repeats == {"unknown": 2}


@pytest.mark.parametrize("video", ["a", "b"])
def test_late_events_under_a_known_id_and_time_are_told_apart_too(video: str) -> None:
    identity = event_id(random.Random(2))
    first = (NOW_MS, [(identity, "a", "view", NOW_MS)])
    late = (NOW_MS + 2 * HOUR_MS, [(identity, video, "view", NOW_MS)])
    found = count([first, late], [1])[1]
    assert found.late == {"repeats": 1, "added": 0, "too_old": 0}
    assert found.repeats == {"same" if video == "a" else "conflicting": 1}
