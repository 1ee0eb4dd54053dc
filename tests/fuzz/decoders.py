"""The decoders that read bytes of strangers, and what must hold of each for any bytes. Knows no fuzzing library.

Each check returns if all is well, and raises whatever its decoder should not have raised, or AssertionError.
"""

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from fastavro._read_py import schemaless_reader

from schemas import registry
from schemas.access_keys import KeyFileError, decode, encode, id_of
from schemas.values import TIME_END_MS, TIME_MIN_MS
from services.access.known_keys import KnownKeys
from services.ingest import routes
from services.ingest.encodings import ENCODINGS, unpack
from services.ingest.events import Terms
from services.ingest.idempotency import RequestKey
from services.ingest.packing import batch_value
from services.ingest.taking import Packing, Taken, read
from services.openapi import JSON
from services.refused import RefusedError
from tests.fuzz import seeds
from tests.support.both_ways import NOW_MS, SALTS, TAIL, same
from udfs.logic.wire import batch_scan
from udfs.logic.wire.batch_scan import END, KIND_AT, KIND_LEN, START, VIDEO_AT, VIDEO_LEN, Scan

T = TypeVar("T")

EPOCH = datetime.fromtimestamp(0, UTC)
MS = timedelta(milliseconds=1)
UNPACKED_BYTES_MAX = 1 << 18
# Besides the plain one, which `same` takes.
TERMS = (
    Terms("shop", is_strict=True),
    Terms("shop", RequestKey("k", NOW_MS, is_bounded=True)),
)


class Decoder(NamedTuple):
    """A check of any bytes, and the inputs from which a fuzzer begins."""

    check: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]


def check_encodings(data: bytes) -> None:
    """A body unpacks within the bound, or is refused."""
    for encoding in ENCODINGS:
        found = _or_refused(partial(unpack, encoding, data, bytes_max=UNPACKED_BYTES_MAX), 400, 413)
        assert found is None or len(found) <= UNPACKED_BYTES_MAX


def check_body(media: str, data: bytes) -> None:
    """A body is read, or refused with 400, and kernels and Python agree on it. What is taken can be counted."""
    same(media, data)
    for terms in TERMS:
        taken = _or_refused(partial(_taken, media, data, terms), 400)
        if taken is not None:
            _check_taken(taken)


def _taken(media: str, data: bytes, terms: Terms) -> Taken:
    return read(media, data, terms, Packing(NOW_MS, SALTS, TAIL), unpacked_bytes_max=UNPACKED_BYTES_MAX).pack()


def _or_refused(work: Callable[[], T], *statuses: int) -> T | None:
    """What it returns; None if it refuses with one of these statuses, and a text that an answer can have."""
    try:
        return work()
    except RefusedError as error:
        refused = error
    assert refused.status in statuses, refused
    msgspec.json.encode(refused.error)
    return None


def _check_taken(taken: Taken) -> None:
    msgspec.json.encode([taken.packed.rejected, taken.made])
    for salt, (block, ends) in enumerate(zip(taken.packed.blocks, taken.packed.ends, strict=True)):
        value = batch_value([block], len(ends), producer_id="p", salt=salt, salts=SALTS, now_ms=NOW_MS)
        found = batch_scan.scan(np.frombuffer(value, np.uint8), salt, SALTS)
        assert isinstance(found, Scan), found
        assert not found.faults.any(), found.faults
        assert np.diff(found.spans[:, [START, END]]).ravel().tolist() == [b - a for a, b in pairwise([0, *ends])]


def check_keys(data: bytes) -> None:
    """A file of keys is used whole, or refused as one."""
    try:
        keys = decode(data)
    except KeyFileError:
        return
    assert decode(encode(keys)) == keys
    known = KnownKeys()
    known.replace(keys)
    for key in keys:
        text = f"vc_{key.scope}_{key.id}_{'0' * 32}"
        assert id_of(text) == key.id
        _or_refused(partial(known.find, text), 401, 403)


def check_batch(data: bytes) -> None:
    """A record of the events topic is unreadable with a reason, or read as fastavro reads it."""
    events = _decoded(data)
    buf = np.frombuffer(data, np.uint8)
    batch_scan.scan(buf, 1, SALTS)
    found = batch_scan.scan_as_named(buf)
    if not isinstance(found, tuple):
        return
    scan = found[1]
    assert ((scan.spans >= 0) & (scan.spans <= len(data))).all()
    if scan.faults.any() or ((scan.viewed_at < TIME_MIN_MS) | (scan.viewed_at >= TIME_END_MS)).any():
        return
    if events is not None:
        assert events == list(_scanned(data, scan))


def _decoded(data: bytes) -> list[tuple[bytes, str, str, int]] | None:
    """None if fastavro cannot read all of it, such as the name of a producer that is no UTF-8.

    Its reader in Python takes part, because a fuzzer sees which ways through it an input takes, and none of a kernel.
    """
    name, version = registry.by_prefix().get(data[: registry.PREFIX_BYTES], ("", 0))
    if name != "ViewBatch":
        return None
    try:
        record: Any = schemaless_reader(io.BytesIO(data[registry.PREFIX_BYTES :]), registry.schema(name, version), None)
    # fastavro raises whatever its decoding meets.
    except Exception:
        return None
    return [
        (one["event_id"], one["video_id"], one["kind"], (one["viewed_at"] - EPOCH) // MS) for one in record["events"]
    ]


def _scanned(data: bytes, scan: Scan) -> Iterator[tuple[bytes, str, str, int]]:
    for row, at_ms in zip(scan.spans.tolist(), scan.viewed_at.tolist(), strict=True):
        video = data[row[VIDEO_AT] : row[VIDEO_AT] + row[VIDEO_LEN]].decode()
        kind = data[row[KIND_AT] : row[KIND_AT] + row[KIND_LEN]].decode()
        yield data[row[START] : row[START] + 16], video, kind, at_ms


def _of_media(media: str) -> Callable[[bytes], None]:
    return lambda data: check_body(media, data)


DECODERS = {
    "encodings": Decoder(check_encodings, seeds.packed),
    "json": Decoder(_of_media(JSON), seeds.bodies_json),
    "ndjson": Decoder(_of_media(routes.NDJSON), seeds.bodies_ndjson),
    "avro": Decoder(_of_media(routes.AVRO), seeds.containers),
    "cloud_event": Decoder(_of_media(routes.CLOUD_EVENT), seeds.cloud_events),
    "cloud_events": Decoder(_of_media(routes.CLOUD_EVENTS), seeds.cloud_event_batches),
    "keys": Decoder(check_keys, seeds.key_files),
    "batches": Decoder(check_batch, seeds.batches),
}
