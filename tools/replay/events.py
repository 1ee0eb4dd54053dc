"""Finds the events in a letter by the count job's own scan, and decodes them to dicts for fixes and people."""

import io
import uuid
from typing import Any, cast

import fastavro
import numpy as np

from schemas import registry
from schemas.view_records import event_tail
from tools.replay.letters import DIVERTED, Letter
from udfs.logic.stream.rejected import is_cut
from udfs.logic.wire.batch_scan import OPTIONAL_TEXTS, Unreadable, scan_as_named


def events_in(letter: Letter, events_topic: str) -> list[bytes] | str:
    """The ViewEvents of a letter, as bytes and in their order, or the reason why none can be read.

    A record is readable whichever salt it names, because only its bytes matter here.
    """
    is_batch = letter.kept == DIVERTED or letter.origin.topic == events_topic
    if not is_batch or is_cut(letter.reason):
        return letter.reason
    if letter.origin.index >= 0:
        return [letter.payload]
    batch = scan_as_named(np.frombuffer(letter.payload, np.uint8))
    if isinstance(batch, Unreadable):
        return batch.name.lower()
    _, found = batch
    return [letter.payload[start:end] for start, end in found.spans[:, :2].tolist()]


def fields_of(datum: bytes) -> dict[str, Any]:
    """A ViewEvent of any version as a dict, with event_id as a UUID in text, and viewed_at in ms since 1970.

    Bytes that are not UTF-8 become lone surrogates, as with Python's `surrogateescape`.
    """
    record: dict[str, Any] = {}
    # Each version ends later than the one before, so the bytes say which one they are.
    for version in OPTIONAL_TEXTS:
        record, end = _read(datum, version)
        if end == len(datum):
            break
    return {**record, "event_id": str(uuid.UUID(bytes=record["event_id"]))}


def parted(datum: bytes) -> tuple[bytes, bytes]:
    """(the event in version 1, what version 2 adds to it). An event of version 1 gets an addition without values."""
    _, end = _read(datum, 1)
    return datum[:end], datum[end:] or event_tail()


def _read(datum: bytes, version: int) -> tuple[dict[str, Any], int]:
    """(the record, the place where it ends)."""
    stream = io.BytesIO(datum)
    schema = registry.numeric_schema("ViewEvent", version)
    record = fastavro.schemaless_reader(stream, schema, None, handle_unicode_errors="surrogateescape")
    return cast("dict[str, Any]", record), stream.tell()
