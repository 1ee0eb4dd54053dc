"""An object of overflow gives back the events that it was made of, and a name that says what is in it."""

import io
import uuid
from typing import Any

import fastavro
import pytest

from schemas.view_records import event_tail
from services.ingest.events import ViewEvent
from services.ingest.packing import Packed, pack
from settings.durations import MINUTE_MS
from udfs.logic.overflow.object_file import ObjectError, decode, encode
from udfs.logic.overflow.object_name import Destination, ObjectName, ObjectNameError, object_name

NOW_MS = 1_800_000_000_000
TAIL = event_tail(agent="browser", project="acme")


def packed_events(count: int, *, viewer: str | None = None, step_ms: int = 1000, salts: int = 8) -> Packed:
    events = [
        ViewEvent(video_id=f"v{n}", event_id=uuid.UUID(int=n + 1), viewed_at=NOW_MS - n * step_ms, viewer_id=viewer)
        for n in range(count)
    ]
    return pack(events, range(count), now_ms=NOW_MS, salts=salts, tail=TAIL)


def object_of(packed: Packed, **changes: Any) -> tuple[ObjectName, bytes]:
    said = {"made_ms": NOW_MS, "producer_id": "ingest-a.b-1", "sequence": 7, "destination": Destination.EVENTS}
    return encode(packed.blocks, packed.count, **{**said, **changes})


def test_an_object_gives_its_events_back() -> None:
    packed = packed_events(100, viewer="somebody")
    name, content = object_of(packed)
    events = decode(content, 100)
    assert b"".join(events.datums) == b"".join(packed.blocks)
    assert sorted(events.viewed_ms.tolist()) == sorted(NOW_MS - n * 1000 for n in range(100))
    first = (NOW_MS - 99_000) // MINUTE_MS
    assert name == ObjectName(NOW_MS, "ingest-a.b-1", 7, Destination.EVENTS, first, NOW_MS // MINUTE_MS, 100)
    assert object_name(name.text) == name


def test_any_reader_of_avro_reads_an_object() -> None:
    _, content = object_of(packed_events(3, viewer="x"))
    (batch,) = fastavro.reader(io.BytesIO(content))
    assert isinstance(batch, dict)
    assert (batch["origin"], batch["salts"]) == ("overflow", 1)
    assert sorted(event["video_id"] for event in batch["events"]) == ["v0", "v1", "v2"]
    assert {event["project"] for event in batch["events"]} == {"acme"}


@pytest.mark.parametrize("viewer", [None, "", "somebody"])
def test_the_viewer_can_be_left_out(viewer: str | None) -> None:
    events = decode(object_of(packed_events(5, viewer=viewer))[1], 5)
    bare = decode(object_of(packed_events(5))[1], 5)
    assert {events.without_viewer(index) for index in range(5)} == set(bare.datums)


def test_a_broken_object_is_told() -> None:
    _, content = object_of(packed_events(3))
    for broken in (
        b"",
        content[:-20],
        content[: len(content) // 2],
        content[:-30] + b"\xff" * 30,
        object_of(packed_events(2))[1],
    ):
        with pytest.raises(ObjectError):
            decode(broken, 3)


def test_names_sort_by_the_time_at_which_objects_were_made() -> None:
    names = [ObjectName(ms, "p", 1, Destination.EVENTS, 0, 0, 1) for ms in (9, 10, NOW_MS)]
    assert sorted(name.text for name in names) == [name.text for name in names]


@pytest.mark.parametrize("text", ["", "x.avro", "0000000000001-p-000001-other-1-1-1.avro"])
def test_another_name_is_told(text: str) -> None:
    with pytest.raises(ObjectNameError, match="move it out of the folder"):
        object_name(text)
