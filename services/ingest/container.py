"""Reads an untrusted Avro object container within bounds of memory and time. Knows no HTTP.

fastavro's own reader trusts the file: a small file could make it unpack gigabytes, or skip 10^12 nulls of an array. So
this module reads the file's blocks itself and limits their unpacked size. It accepts only flat schemas, so that every
record has at least one byte. fastavro then decodes the records. See the Avro 1.12 specification, "Object Container
Files".
"""

import io
import json
import zlib
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple

import fastavro

from schemas.fields import EVENT_FIELDS, first_meant, misspelt
from schemas.registry import newest, schema
from services.ingest.unpacking import CutOffError, TooLongError, UnpackError, unpack_piece

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
VARINT_BYTES_MAX = 10
METADATA_ENTRIES_MAX = 64
SCHEMA_FIELDS_MAX = 64
# A longer text is not compared with the product's own schemas, so that what is remembered stays small.
OWN_SCHEMA_BYTES_MAX = 1 << 14
FLAT = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string", "fixed", "enum"},
)


class ContainerError(ValueError):
    """The file is broken from record `index` on. `index` is None if nothing in it can be read."""

    def __init__(self, text: str, index: int | None = None) -> None:
        super().__init__(text)
        self.index = index


class Container(NamedTuple):
    """The records, resolved to ViewEvent, and the names of the writer's fields that ViewEvent lacks.

    `event_id` is bytes, `viewed_at` an aware datetime. Iteration raises ContainerError with the index of the first
    record that cannot be read.
    """

    records: Iterator[dict[str, Any]]
    unknown: list[str]


def read_container(data: bytes, *, unpacked_bytes_max: int) -> Container:
    """Read the header. Raises ContainerError without an index if it is not one of a container of events."""
    cursor = _Cursor(data)
    writer, names, codec = _header(cursor)
    if (found := first_meant(names)) is not None:
        raise ContainerError(f"field {found[0]} of avro.schema: {misspelt(*found)}")
    unknown = [name for name in names if name not in EVENT_FIELDS]
    return Container(_records(cursor, writer, codec, unpacked_bytes_max), unknown)


class OwnBlocks(NamedTuple):
    """The unpacked blocks of a container that was written with a version of ViewEvent, and the records in each."""

    version: int
    blocks: list[bytes]
    counts: list[int]


def read_own_blocks(data: bytes, *, unpacked_bytes_max: int) -> OwnBlocks | None:
    """Read all blocks, not the records in them. None if the schema is another one, or the file is broken anywhere."""
    cursor = _Cursor(data)
    try:
        text, codec = _metadata(cursor)
        version = _own_version(text) if len(text) <= OWN_SCHEMA_BYTES_MAX else None
        if version is None:
            return None
        sync = cursor.take(SYNC_BYTES)
        blocks: list[bytes] = []
        counts: list[int] = []
        room = unpacked_bytes_max
        while cursor.left:
            count, block = _block(cursor, codec, room)
            room -= len(block)
            blocks.append(block)
            counts.append(count)
            _check_sync(cursor, sync)
    except ContainerError:
        return None
    return OwnBlocks(version, blocks, counts)


@cache
def unknown_fields(version: int) -> tuple[str, ...]:
    """The fields of a version of ViewEvent that clients do not send, in order."""
    return tuple(sorted({field["name"] for field in schema("ViewEvent", version)["fields"]} - set(EVENT_FIELDS)))


@lru_cache(maxsize=64)
def _own_version(text: bytes) -> int | None:
    """The version of ViewEvent that this schema is, whatever docs and defaults it has; None if it is none."""
    try:
        shape = _shape(json.loads(text))
    # Whoever reads the records says what is wrong.
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    versions = range(1, newest("ViewEvent") + 1)
    return next((version for version in versions if _shape(schema("ViewEvent", version)) == shape), None)


def _shape(declared: Any) -> Any:
    """What decides how the records of a schema are read."""
    name = declared["name"]
    full_name = name if "." in name else f"{declared.get('namespace', '')}.{name}"
    return declared["type"], full_name, [(field["name"], _type_shape(field["type"])) for field in declared["fields"]]


def _type_shape(kind: Any) -> Any:
    if isinstance(kind, list):
        return [_type_shape(one) for one in kind]
    if isinstance(kind, str):
        return kind
    own = kind.get("name", "").rsplit(".", maxsplit=1)[-1]
    return kind["type"], own, kind.get("size"), kind.get("logicalType")


def _records(cursor: "_Cursor", writer: Any, codec: str, unpacked_bytes_max: int) -> Iterator[dict[str, Any]]:
    index = 0
    sync = cursor.take(SYNC_BYTES)
    room = unpacked_bytes_max
    try:
        while cursor.left:
            count, block = _block(cursor, codec, room)
            room -= len(block)
            source = io.BytesIO(block)
            for _ in range(count):
                yield _record(source, writer)
                index += 1
            _check_end(source, cursor, sync)
    except ContainerError as error:
        raise ContainerError(str(error), index) from error


def _block(cursor: "_Cursor", codec: str, room: int) -> tuple[int, bytes]:
    count, size = cursor.long(), cursor.long()
    block = cursor.take(size)
    if codec == "deflate":
        block = _inflate(block, room)
    if not 0 <= count <= len(block):
        raise ContainerError(f"a block of {len(block)} bytes says it holds {count} records")
    return count, block


def _check_end(source: io.BytesIO, cursor: "_Cursor", sync: bytes) -> None:
    if source.read(1):
        raise ContainerError("a block holds more bytes than its records")
    _check_sync(cursor, sync)


def _check_sync(cursor: "_Cursor", sync: bytes) -> None:
    if cursor.take(SYNC_BYTES) != sync:
        raise ContainerError("a block does not end with the file's sync marker")


def _header(cursor: "_Cursor") -> tuple[Any, list[str], str]:
    """The writer's schema, the names of its fields, and the codec."""
    text, codec = _metadata(cursor)
    try:
        declared = json.loads(text)
        _check_flat(declared)
        return fastavro.parse_schema(declared), [str(field["name"]) for field in declared["fields"]], codec
    except ContainerError:
        raise
    except Exception as error:
        raise ContainerError(f"avro.schema cannot be read: {error}") from error


def _metadata(cursor: "_Cursor") -> tuple[bytes, str]:
    """The text of the writer's schema, and the codec."""
    if cursor.take(len(MAGIC)) != MAGIC:
        raise ContainerError("the body is no Avro object container, which begins with the bytes Obj and 1")
    metadata: dict[bytes, bytes] = {}
    while count := cursor.long():
        if count < 0:
            cursor.long()
            count = -count
        if len(metadata) + count > METADATA_ENTRIES_MAX:
            raise ContainerError(f"the header has more than {METADATA_ENTRIES_MAX} entries of metadata")
        for _ in range(count):
            key = cursor.take(cursor.long())
            metadata[key] = cursor.take(cursor.long())
    codec = metadata.get(b"avro.codec", b"null").decode(errors="replace")
    if codec not in {"null", "deflate"}:
        raise ContainerError(f"avro.codec={codec} is not supported; write the file with null or deflate")
    return metadata.get(b"avro.schema", b""), codec


def _check_flat(declared: Any) -> None:
    fields = declared.get("fields") if isinstance(declared, dict) and declared.get("type") == "record" else None
    if not isinstance(fields, list) or not 0 < len(fields) <= SCHEMA_FIELDS_MAX:
        raise ContainerError(f"avro.schema is not a record of 1 to {SCHEMA_FIELDS_MAX} fields")
    for field in fields:
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        for kind in kinds:
            name = kind.get("type") if isinstance(kind, dict) else kind
            if name not in FLAT:
                raise ContainerError(
                    f"field {field['name']} of avro.schema has the type {name}; use a schema without nested types"
                )


def _inflate(block: bytes, room: int) -> bytes:
    try:
        return unpack_piece(zlib.decompressobj(-zlib.MAX_WBITS), block, room)
    except TooLongError:
        raise ContainerError("the file unpacks to more bytes than a body may have") from None
    except CutOffError:
        raise ContainerError("a block ends in the middle of its packed bytes") from None
    except UnpackError as error:
        raise ContainerError(f"a block cannot be unpacked: {error}") from error


def _record(source: io.BytesIO, writer: Any) -> dict[str, Any]:
    try:
        record: Any = fastavro.schemaless_reader(source, writer, _reader())
    # fastavro raises whatever its decoding meets: EOFError, struct.error, SchemaResolutionError and others.
    except Exception as error:
        raise ContainerError(f"not a ViewEvent: {type(error).__name__} {error}") from error
    return dict(record)


@cache
def _reader() -> Any:
    """ViewEvent as clients send it: the newest version, without the fields that are not theirs to send."""
    declared = schema("ViewEvent", newest("ViewEvent"))
    own = [field for field in declared["fields"] if field["name"] in EVENT_FIELDS]
    return fastavro.parse_schema({"type": "record", "name": declared["name"], "fields": own})


class _Cursor:
    """A place in the file. Reading beyond the end raises ContainerError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise ContainerError(f"the file gives a length of {size} bytes where {self.left} are left")
        self._at += size
        return self._data[self._at - size : self._at]

    def long(self) -> int:
        value = 0
        for place in range(VARINT_BYTES_MAX):
            byte = self.take(1)[0]
            value |= (byte & 127) << (7 * place)
            if byte < 128:
                return (value >> 1) ^ -(value & 1)
        raise ContainerError("the file has a number longer than ten bytes")
