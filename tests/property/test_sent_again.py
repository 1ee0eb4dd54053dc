"""Property: a body with an Idempotency-Key that is sent again counts as often as its answer promises.

It is sent through ingest's own steps, at once or much later. The stream's rules and the rollup's count the records.
"""

import json
import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.events import Parsed, Terms, parse_json, parse_ndjson
from services.ingest.idempotency import key_of
from services.ingest.packing import batch_value, pack
from tests.support.random_streams import MINUTE_MS, NOW_MS, RULES
from udfs.logic.slices.slice_counts import SliceCounter
from udfs.logic.stream.block_table import NOBODY

PLAIN_KEY = "order-17"
Record = tuple[int, int, bytes]


def key_with_time(at_ms: int) -> str:
    return str(uuid.UUID(int=at_ms << 80 | 7 << 76 | 2 << 62 | 5))


def sent(body: bytes, key: str | None, at_ms: int, *, lines: bool = False) -> tuple[Parsed, list[Record]]:
    """What ingest makes of the body at this time: the parsed events, and records as (append time, salt, value)."""
    terms = Terms("shop", key_of([] if key is None else [key], at_ms))
    parsed = (parse_ndjson if lines else parse_json)(body, terms)
    packed = pack(parsed.events, parsed.indexes, now_ms=at_ms, salts=RULES.salts)
    assert not parsed.rejected
    assert not packed.rejected
    records = [
        (at_ms, salt, batch_value([block], len(places), producer_id="p", salt=salt, salts=RULES.salts, now_ms=at_ms))
        for salt, (block, places) in enumerate(zip(packed.blocks, packed.indexes, strict=True))
        if places
    ]
    return parsed, records


def views(records: list[Record]) -> int:
    """What the stream counts, and what the rollup adds of what was late."""
    counter = SliceCounter(
        RULES, partition=0, partitions=1, blocks=NOBODY, late_ms_max=1 << 50, viewed_ms_min=0, dedups={}
    )
    for at_ms, salt, value in records:
        counter.count(salt.to_bytes(4, "big"), value, at_ms)
    found = counter.finish(lambda _hour, _ids: iter(()))
    tallies = [tally for of_salt in found.tallies.values() for tally in of_salt]
    assert sum(tally.invalid + tally.dead_lettered + tally.unreadable_records for tally in tallies) == 0
    return sum(tally.counted for tally in tallies) + found.late["added"]


EVENTS = st.lists(st.fixed_dictionaries({"video_id": st.sampled_from("ABC")}), min_size=1, max_size=6)
# At once, within the lateness, within a generation, in the next one, and when no stream knows the ids any more.
DELAYS = st.sampled_from([0, 1, MINUTE_MS, 6 * MINUTE_MS, 8 * MINUTE_MS, 20 * MINUTE_MS, 600 * MINUTE_MS])


@given(EVENTS, DELAYS, st.booleans(), st.sampled_from(["viewed_at", "key"]))
def test_a_body_that_has_times_counts_once_whenever_it_is_sent_again(
    events: list[dict[str, Any]], delay_ms: int, lines: bool, way: str
) -> None:
    key = PLAIN_KEY if way == "viewed_at" else key_with_time(NOW_MS - 5)
    timed = [{**one, "viewed_at": NOW_MS - n} for n, one in enumerate(events)] if way == "viewed_at" else events
    body = "\n".join(map(json.dumps, timed)) if lines else json.dumps({"events": timed})
    first, records = sent(body.encode(), key, NOW_MS, lines=lines)
    again, more = sent(body.encode(), key, NOW_MS + delay_ms, lines=lines)
    assert not first.is_bounded
    assert [(one.event_id, one.viewed_at) for one in first.events] == [
        (one.event_id, one.viewed_at) for one in again.events
    ]
    assert views(records + more) == len(events)


@given(EVENTS, DELAYS)
def test_a_body_without_times_counts_once_within_a_generation_and_says_so(
    events: list[dict[str, Any]], delay_ms: int
) -> None:
    body = json.dumps({"events": events}).encode()
    first, records = sent(body, PLAIN_KEY, NOW_MS)
    _, more = sent(body, PLAIN_KEY, NOW_MS + delay_ms)
    assert first.is_bounded
    within = delay_ms <= RULES.generation_ms
    beyond = delay_ms >= 2 * RULES.generation_ms
    counted = views(records + more)
    assert counted == len(events) if within else not beyond or counted == 2 * len(events)


def test_without_a_key_each_sending_counts() -> None:
    body = b'{"events":[{"video_id":"A"}]}'
    assert views(sent(body, None, NOW_MS)[1] + sent(body, None, NOW_MS)[1]) == 2
