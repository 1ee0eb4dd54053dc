"""Reads values of ViewBatch, ViewEvent and RejectedEvents with fastavro and the schema files.

It reads strings as bytes, which have the same encoding, so that it can recognise text that is not UTF-8.
"""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any, cast

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "avro"
PREFIX_BYTES = 10
VERSIONS = {"ViewBatch": (1, 2), "ViewEvent": (1, 2)}


class UnreadableError(ValueError):
    """The value is not exactly one record of the schema in single-object encoding."""


@cache
def prefix(name: str, version: int) -> bytes:
    """The marker and the fingerprint with which every value of the schema begins."""
    canonical = to_parsing_canonical_form(json.loads((SCHEMAS / f"{name}.v{version}.avsc").read_text()))
    return b"\xc3\x01" + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


@cache
def _bytes_schema(name: str, version: int) -> Any:
    return fastavro.parse_schema(_without_strings(json.loads((SCHEMAS / f"{name}.v{version}.avsc").read_text())))


def _without_strings(schema: Any) -> Any:
    if schema == "string":
        return "bytes"
    if isinstance(schema, list):
        return [_without_strings(branch) for branch in schema]
    if isinstance(schema, dict):
        # Without logical types times stay numbers. Defaults are left out, because they would have the wrong type.
        return {
            key: value if key in ("name", "doc", "namespace", "size") else _without_strings(value)
            for key, value in schema.items()
            if key not in ("logicalType", "default")
        }
    return schema


def read(name: str, value: bytes) -> dict[str, Any]:
    """The record in a value with its prefix. Raises UnreadableError."""
    for version in VERSIONS.get(name, (1,)):
        if value[:PREFIX_BYTES] == prefix(name, version):
            return _read(name, version, value[PREFIX_BYTES:])
    raise UnreadableError("another schema")


def read_datum(name: str, datum: bytes) -> dict[str, Any]:
    """The record in bytes without a prefix, in the first version that uses all of them. Raises UnreadableError."""
    error = UnreadableError("no version")
    for version in VERSIONS.get(name, (1,)):
        try:
            return _read(name, version, datum)
        except UnreadableError as found:
            error = found
    raise error


def _read(name: str, version: int, datum: bytes) -> dict[str, Any]:
    stream = io.BytesIO(datum)
    try:
        record = cast("dict[str, Any]", fastavro.schemaless_reader(stream, _bytes_schema(name, version), None))
    except (EOFError, ValueError, IndexError, OverflowError, TypeError) as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error
    if stream.tell() != len(datum):
        raise UnreadableError(f"{len(datum) - stream.tell()} bytes after the end")
    return record
