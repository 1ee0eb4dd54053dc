"""The schema registry: finds every version of every Avro schema by its fingerprint.

Values are in Avro's single-object encoding: C3 01, then the CRC-64-AVRO fingerprint of the schema's canonical form in
little-endian order (Avro 1.12 specification, "Single-object encoding"). A file in schemas/avro never changes: a changed
schema is a new version in a new file, and readers still decode the old one.
"""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any, cast

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

FOLDER = Path(__file__).parent / "avro"
MARKER = b"\xc3\x01"
PREFIX_BYTES = 10


class UnknownSchemaError(ValueError):
    """The bytes name a schema that is not in the registry, or are not in single-object encoding."""


def text(name: str, version: int = 1) -> str:
    """The file of the schema NAME.vVERSION. Raises FileNotFoundError if there is none."""
    return (FOLDER / f"{name}.v{version}.avsc").read_text()


@cache
def schema(name: str, version: int = 1) -> Any:
    """The schema NAME.vVERSION, parsed for fastavro. Raises FileNotFoundError if there is none."""
    return fastavro.parse_schema(json.loads(text(name, version)))


@cache
def numeric_schema(name: str, version: int = 1) -> Any:
    """The same schema without logical types, so that times are read as numbers: a datetime cannot hold every long."""

    def plain(part: Any) -> Any:
        if isinstance(part, dict):
            return part["type"] if "logicalType" in part else {key: plain(of) for key, of in part.items()}
        return [plain(of) for of in part] if isinstance(part, list) else part

    return fastavro.parse_schema(plain(json.loads(text(name, version))))


@cache
def prefix(name: str, version: int = 1) -> bytes:
    """The ten bytes with which every value of this schema begins."""
    return prefix_of(schema(name, version))


def prefix_of(any_schema: Any) -> bytes:
    """The ten bytes with which every value of a schema begins. The schema need not be in the registry."""
    canonical = to_parsing_canonical_form(any_schema)
    # fastavro returns the fingerprint as hex of its little-endian bytes, which is the order in the encoding.
    return MARKER + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


@cache
def by_prefix() -> dict[bytes, tuple[str, int]]:
    """(name, version) of every schema in the registry, by its ten bytes."""
    found = {}
    for path in FOLDER.glob("*.v*.avsc"):
        name, version = path.stem.split(".v")
        found[prefix(name, int(version))] = (name, int(version))
    return found


def newest(name: str) -> int:
    """The newest version of a schema. Raises ValueError if there is none."""
    return max(version for known, version in by_prefix().values() if known == name)


def encode(name: str, value: dict[str, Any], version: int = 1) -> bytes:
    """The value in single-object encoding. Raises what fastavro raises if the value does not fit the schema."""
    out = io.BytesIO()
    out.write(prefix(name, version))
    fastavro.schemaless_writer(out, schema(name, version), value)
    return out.getvalue()


def decode(value: bytes) -> tuple[str, dict[str, Any]]:
    """(name of the schema, value) of bytes in single-object encoding. Raises UnknownSchemaError."""
    found = by_prefix().get(bytes(value[:PREFIX_BYTES]))
    if found is None:
        raise UnknownSchemaError(
            f"no schema has the prefix {bytes(value[:PREFIX_BYTES]).hex() or 'empty'}; these are known: "
            + ", ".join(f"{name}.v{version}" for name, version in sorted(by_prefix().values()))
        )
    name, version = found
    record = fastavro.schemaless_reader(io.BytesIO(value[PREFIX_BYTES:]), schema(name, version), None)
    # Every schema here is a record.
    return name, cast("dict[str, Any]", record)
