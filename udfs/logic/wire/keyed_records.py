"""Reads records of compacted topics whose values begin with their own key, or refuses them with a reason."""

import io
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, cast

import fastavro

from schemas import registry


class Refusal(Enum):
    """Why a record is not taken; the value is the reason in the dead letter."""

    NO_KEY = "no_key"
    KEY_TOO_LONG = "key_too_long"
    UNKNOWN_SCHEMA = "unknown_schema"
    UNREADABLE = "unreadable"
    KEY_DIFFERS_FROM_VALUE = "key_differs_from_value"
    TOO_LONG = "too_long"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    PERIOD_ENDS_BEFORE_IT_BEGINS = "period_ends_before_it_begins"


class Keyed(NamedTuple):
    """A record that was read: its key, and the rest of its value after the key, in Avro. None means a tombstone."""

    key: str
    rest: bytes | None


# Reads a record of a compacted topic, given its key and value. No content makes it raise.
Reader = Callable[[bytes | None, bytes | None], Keyed | Refusal]


def read_keyed(schema: str, key: bytes | None, value: bytes | None, key_bytes_max: int) -> Keyed | Refusal:
    """Read one record, but leave the rest of its value undecoded. No content makes it raise."""
    if not key:
        return Refusal.NO_KEY
    if len(key) > key_bytes_max:
        return Refusal.KEY_TOO_LONG
    try:
        name = key.decode()
    except UnicodeDecodeError:
        return Refusal.UNREADABLE
    if value is None:
        return Keyed(name, None)
    prefix = registry.prefix(schema)
    if value[: len(prefix)] != prefix:
        return Refusal.UNKNOWN_SCHEMA
    datum = io.BytesIO(value[len(prefix) :])
    try:
        own = cast("str", fastavro.schemaless_reader(datum, "string", None))
    # A decoder may raise anything for bytes that are not of its schema.
    except Exception:
        return Refusal.UNREADABLE
    if own != name:
        return Refusal.KEY_DIFFERS_FROM_VALUE
    return Keyed(name, datum.getvalue()[datum.tell() :])


def read_whole(schema: Any, datum: bytes) -> Any:
    """Decode a datum of a parsed schema.

    Raises ValueError when bytes follow it, and what fastavro raises when it cannot be read.
    """
    stream = io.BytesIO(datum)
    found = fastavro.schemaless_reader(stream, schema, None)
    if stream.tell() != len(datum):
        raise ValueError(f"{len(datum) - stream.tell()} bytes after the end")
    return found
