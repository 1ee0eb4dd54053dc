"""The events in a letter: found by the count job's own scan, and as the dicts that people see and fixes take."""

import io
import uuid
from typing import Any

import fastavro
import numpy as np

from schemas import registry
from tools.replay.letters import Letter
from udfs.logic.batch_scan import Unreadable, read_string, read_varint, scan

FIELDS = ("event_id", "video_id", "viewed_at", "kind", "viewer_id", "country", "device")
_BATCH_ID_BYTES = 16


def events_in(letter: Letter, events_topic: str) -> list[bytes] | str:
    """The ViewEvent data of a letter, in their order; or why there are none to be read.

    A record counts as readable under whatever salt it names itself: only its bytes matter here.
    """
    if letter.origin.topic != events_topic:
        return letter.reason
    if letter.origin.index >= 0:
        return [letter.payload]
    buf = np.frombuffer(letter.payload, np.uint8)
    salt, salts = _named_salts(buf)
    batch = scan(buf, salt, max(salts, 1))
    if isinstance(batch, Unreadable):
        return batch.name.lower()
    return [letter.payload[start:end] for start, end in batch.spans[:, :2].tolist()]


def _named_salts(buf: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[int, int]:
    """The salt and the number of salts in a batch's header; what stands for them in a value that is no batch."""
    _, _, at = read_string(buf, registry.PREFIX_BYTES + _BATCH_ID_BYTES)
    salt = salts = 0
    if at >= 0:
        salt, at = read_varint(buf, at)
    if at >= 0:
        salts, at = read_varint(buf, at)
    return int(salt), int(salts)


def fields_of(datum: bytes) -> dict[str, Any]:
    """A ViewEvent datum as a dict of FIELDS: event_id as a UUID's text, viewed_at in ms since 1970.

    Bytes that are no UTF-8 are lone surrogates in the text, as Python's `surrogateescape` has them.
    """
    record: Any = fastavro.schemaless_reader(
        io.BytesIO(datum),
        registry.numeric_schema("ViewEvent"),
        None,
        handle_unicode_errors="surrogateescape",
    )
    return {**record, "event_id": str(uuid.UUID(bytes=record["event_id"]))}
