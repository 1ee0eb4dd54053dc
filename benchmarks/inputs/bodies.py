"""Bodies of requests to ingest, made before anything is measured. Knows no HTTP and no service.

An event has the fields that a player sends: an id of its own, the video, the time and the viewer. The first eight
digits of each id can be overwritten by the load tool, so that each request has ids of its own; the last twelve are the
place in the body.
"""

import gzip
import io
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

import fastavro

from schemas import registry

MEDIA = {"json": "application/json", "ndjson": "application/x-ndjson", "avro": "application/avro"}
ENCODINGS = ("identity", "gzip")
VIDEOS = 100_000
VIEWERS = 1_000_000
# Events were viewed within so many ms before the bodies were made.
SPREAD_MS = 5_000
Event = dict[str, str | int]


def events(number: int, random_: random.Random, now_ms: int) -> list[Event]:
    """The events of one body."""
    return [
        {
            "event_id": f"{random_.getrandbits(32):08x}-0000-4000-8000-{index:012x}",
            "video_id": f"video-{random_.randrange(VIDEOS):07d}",
            "viewed_at": now_ms - random_.randrange(SPREAD_MS),
            "viewer_id": f"viewer-{random_.randrange(VIEWERS):07d}",
        }
        for index in range(number)
    ]


def body(form: str, some: Iterable[Event]) -> bytes:
    """The events in one of the forms of MEDIA."""
    if form == "json":
        return json.dumps({"events": list(some)}, separators=(",", ":")).encode()
    if form == "ndjson":
        return b"".join(json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in some)
    out = io.BytesIO()
    records = [{**event, "event_id": UUID(str(event["event_id"])).bytes} for event in some]
    fastavro.writer(out, registry.schema("ViewEvent"), records, codec="null")
    return out.getvalue()


def bodies(form: str, encoding: str, number: int, *, events_per_body: int, now_ms: int, seed: int) -> Iterator[bytes]:
    """So many bodies, all different."""
    random_ = random.Random(seed)  # noqa: S311 - the figures are to be the same each time, and nothing is secret
    for _ in range(number):
        plain = body(form, events(events_per_body, random_, now_ms))
        yield gzip.compress(plain, 6, mtime=0) if encoding == "gzip" else plain


def write(path: Path, some: Iterable[bytes]) -> None:
    """Write a file for the load tool: each body behind its length in four bytes, big-endian."""
    with path.open("wb") as out:
        for one in some:
            out.write(len(one).to_bytes(4, "big") + one)
