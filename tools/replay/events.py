"""The events in a letter: found by the count job's own scan, and as the dicts that people see and fixes take."""

import io
import uuid
from typing import Any, cast

import fastavro
import numpy as np

from schemas import registry
from tools.replay.letters import Letter
from udfs.logic.stream.rejected import is_cut
from udfs.logic.wire.batch_scan import Unreadable, scan_as_named


def events_in(letter: Letter, events_topic: str) -> list[bytes] | str:
    """The ViewEvent data of a letter, in their order; or why there are none to be read.

    A record counts as readable under whatever salt it names itself: only its bytes matter here.
    """
    if letter.origin.topic != events_topic or is_cut(letter.reason):
        return letter.reason
    if letter.origin.index >= 0:
        return [letter.payload]
    batch = scan_as_named(np.frombuffer(letter.payload, np.uint8))
    if isinstance(batch, Unreadable):
        return batch.name.lower()
    _, found = batch
    return [letter.payload[start:end] for start, end in found.spans[:, :2].tolist()]


def fields_of(datum: bytes) -> dict[str, Any]:
    """A ViewEvent datum of either version as a dict: event_id as a UUID's text, viewed_at in ms since 1970.

    Bytes that are no UTF-8 are lone surrogates in the text, as Python's `surrogateescape` has them.
    """
    version = 1 if len(first_version(datum)) == len(datum) else 2
    record, _ = _read(datum, version)
    return {**record, "event_id": str(uuid.UUID(bytes=record["event_id"]))}


def first_version(datum: bytes) -> bytes:
    """The same event as version 1 has it, which is how version 2 begins: replay writes version 1."""
    _, end = _read(datum, 1)
    return datum[:end]


def _read(datum: bytes, version: int) -> tuple[dict[str, Any], int]:
    """(the record, where it ends)."""
    stream = io.BytesIO(datum)
    schema = registry.numeric_schema("ViewEvent", version)
    record = fastavro.schemaless_reader(stream, schema, None, handle_unicode_errors="surrogateescape")
    return cast("dict[str, Any]", record), stream.tell()
