"""Records of all versions are read alike: by the job's scan, by letters of events, and by the independent recount."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.varint import varint
from tests.support.batch_versions import ADDED, VERSIONS, encode_batch, newer
from tools.recount.avro import read, read_datum
from tools.replay.events import fields_of, parted
from udfs.logic.erasure.erasures import Eraser, asked
from udfs.logic.slices.late_events import late_spans
from udfs.logic.wire.batch_scan import OPTIONAL_TEXTS, Scan, Unreadable, scan, scan_as_named

SALTS = 4
TEXT = st.one_of(st.none(), st.text(max_size=4))
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "event_id": st.uuids().map(lambda one: one.bytes),
            "video_id": st.text(min_size=1, max_size=4),
            "viewed_at": st.integers(-(1 << 40), 1 << 41),
            "kind": st.sampled_from(["view", "like"]),
            "viewer_id": TEXT,
            "country": TEXT,
            "device": TEXT,
        }
    ),
    max_size=5,
)


def batch(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Whatever salts its events have: what is wrong with them is beside the point."""
    return {"batch_id": bytes(16), "producer_id": "p", "salt": 1, "salts": SALTS, "produced_at": 12, "events": events}


def scanned(value: bytes) -> Scan | Unreadable:
    return scan(np.frombuffer(value, np.uint8), 1, SALTS)


def test_every_version_that_is_read_is_written_by_tests() -> None:
    texts = 3
    for version in VERSIONS:
        texts += len(ADDED[version])
        assert OPTIONAL_TEXTS.get(version) == texts
    assert set(VERSIONS) == set(OPTIONAL_TEXTS)


@given(EVENTS)
def test_a_batch_is_the_same_events_in_every_version(events: list[dict[str, Any]]) -> None:
    found = []
    for version in VERSIONS:
        value = encode_batch(batch(events), version)
        result = scanned(value)
        assert isinstance(result, Scan)
        assert result.produced_ms == 12
        places = result.spans[:, :2].tolist()
        theirs = read("ViewBatch", value)["events"]
        assert [read_datum("ViewEvent", value[start:end]) for start, end in places] == theirs
        buf = np.frombuffer(value, np.uint8)
        spans, viewed_ms = late_spans(buf, result.spans[:, 0].copy(), result.spans[:, 1].copy())
        assert (spans == result.spans).all()
        assert (viewed_ms == result.viewed_at).all()
        named = scan_as_named(buf)
        assert not isinstance(named, Unreadable)
        assert named[0] == len(value) - 1 if not events else named[0] < result.spans[0, 0]
        texts = [
            [value[at : at + length] for at, length in (row[2:4], row[4:6], row[6:8])] for row in result.spans.tolist()
        ]
        first = [parted(value[start:end])[0] for start, end in places]
        found.append((texts, result.viewed_at.tolist(), result.faults.tolist(), first))
    assert all(one == found[0] for one in found)


@given(EVENTS, st.sampled_from(VERSIONS[1:]), st.data())
def test_no_bytes_of_a_later_version_are_read_beyond_their_end(
    events: list[dict[str, Any]], version: int, data: st.DataObject
) -> None:
    value = bytearray(encode_batch(batch(events), version))
    end = data.draw(st.integers(0, len(value)))
    cut = bytes(value[:end])
    if end < len(value):
        assert isinstance(scanned(cut), Unreadable)
    at = data.draw(st.integers(10, len(value) - 1))
    value[at] = data.draw(st.integers(0, 255))
    result = scanned(bytes(value))
    if isinstance(result, Scan) and len(result.spans):
        assert result.spans[:, 1].max() <= len(value)
        assert read("ViewBatch", bytes(value))["batch_id"] == result.batch_id


@pytest.mark.parametrize("count", [1 << 40, -(1 << 40), -(1 << 63)])
def test_a_header_that_claims_more_traces_than_it_has_bytes_is_refused(count: int) -> None:
    value = encode_batch(batch([]), 2)
    # Of a heartbeat the last two bytes are the ends of traceparents and of events.
    assert isinstance(scanned(value[:-2] + varint(count) + value[-2:]), Unreadable)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_letter_of_any_version_shows_all_its_fields_and_is_sent_as_version_2(version: int) -> None:
    identity = uuid.UUID(int=7).bytes
    event = {
        "event_id": identity, "video_id": "v", "viewed_at": 5, "kind": "view", "viewer_id": None, "country": "DE",
        "device": None,
    }  # fmt: skip
    value = encode_batch(batch([event]), version)
    result = scanned(value)
    assert isinstance(result, Scan)
    ((start, end),) = result.spans[:, :2].tolist()
    shown = fields_of(value[start:end])
    assert shown == {**newer(event, version), "event_id": str(uuid.UUID(int=7))}
    first, added = parted(value[start:end])
    assert fields_of(first) == {**event, "event_id": shown["event_id"]}
    assert fields_of(first + added) == {**dict.fromkeys(ADDED[2]), **shown}


@given(EVENTS, st.sampled_from(VERSIONS))
def test_an_erasure_leaves_a_record_of_any_version_as_readable_as_it_was(
    events: list[dict[str, Any]], version: int
) -> None:
    mine = [{**event, "viewer_id": "viewer" if event["event_id"][0] % 2 else "other"} for event in events]
    value = encode_batch(batch(mine), version)
    now = datetime(2026, 1, 31, tzinfo=UTC)
    erasure = asked(None, "viewer", now, blocked=False, unlist=False, reach=timedelta(days=40_000))
    found = Eraser([erasure]).erase_from((1).to_bytes(4, "big"), value, round(now.timestamp() * 1000))
    if all(event["viewer_id"] == "other" for event in mine):
        assert found is None
        return
    assert found is not None
    assert found.value is not None
    assert isinstance(scanned(found.value), Scan)
    changed = ("viewer_id", "country", "device")
    for before, after in zip(read("ViewBatch", value)["events"], read("ViewBatch", found.value)["events"], strict=True):
        if before["viewer_id"] == b"other":
            assert after == before
        else:
            assert after["viewer_id"].startswith(b"erased:")
            assert {n: v for n, v in after.items() if n not in changed} == {
                n: v for n, v in before.items() if n not in changed
            }
