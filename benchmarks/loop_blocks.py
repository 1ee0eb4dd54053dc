"""Measures for how long the largest bodies hold up ingest's event loop: `python -m benchmarks.loop_blocks`.

The service runs in this process over a writer that acknowledges at once. While it takes bodies of 8 MiB of the shortest
events there are, gzip among them, another task asks for its turn all the time. The longest wait for a turn is printed.
"""

import asyncio
import gzip
import io
import json
import time
from typing import Any
from unittest import mock

import fastavro
import httpx2

from schemas.registry import schema
from services.ingest import app as ingest_app
from settings import IngestSettings, LimitSettings, RedisSettings, Settings

BODY_BYTES = 8 << 20
EVENT = b'{"video_id":"A"}'
EVENTS_MAX = 20_000


class _Acknowledging:
    trouble = None
    partial_trouble: tuple[str, ...] = ()
    events_in_flight = 0

    def write(self, packed: Any) -> list[tuple[asyncio.Future[str | None], list[int]]]:
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return [(done, [index for indexes in packed.indexes for index in indexes])]


def _json(events: int, padding: int) -> bytes:
    return b'{"events":[' + b",".join([EVENT] * events) + b"]}" + b" " * padding


def _avro(events: int) -> bytes:
    out = io.BytesIO()
    now_ms = time.time_ns() // 1_000_000
    records = [
        {"event_id": n.to_bytes(16, "big"), "video_id": "A", "viewed_at": now_ms, "kind": "view"}
        for n in range(1, events + 1)
    ]
    fastavro.writer(out, fastavro.parse_schema(schema("ViewEvent", 1)), records, "deflate")
    return out.getvalue()


def bodies() -> dict[str, tuple[dict[str, str], bytes]]:
    """Headers and bodies by what they are."""
    media = "content-type"
    many = BODY_BYTES // (len(EVENT) + 1) - 2
    largest = _json(EVENTS_MAX, BODY_BYTES - EVENTS_MAX * (len(EVENT) + 1) - 16)
    wrong = json.dumps({"events": [{"video_id": "A", "x": [1]}] * (EVENTS_MAX - 1) + [{}]}).encode()
    as_json, as_lines = {media: "application/json"}, {media: "application/x-ndjson"}
    packed = {"content-encoding": "gzip"}
    return {
        f"JSON, {EVENTS_MAX} events in 8 MiB": (as_json, largest),
        f"JSON, {EVENTS_MAX} events in 8 MiB, gzip": (as_json | packed, gzip.compress(largest)),
        f"JSON, {EVENTS_MAX} events with unknown fields, one wrong": (as_json, wrong),
        f"JSON, {many} events, gzip": (as_json | packed, gzip.compress(_json(many, 0))),
        "JSON, 4 million numbers": (as_json, b'{"events":[' + b"1," * (BODY_BYTES // 2 - 10) + b"1]}"),
        f"NDJSON, {EVENTS_MAX} events": (as_lines, b"\n".join([EVENT] * EVENTS_MAX)),
        f"NDJSON, {many} events": (as_lines, b"\n".join([EVENT] * many)),
        f"Avro, {EVENTS_MAX} events": ({media: "application/avro"}, _avro(EVENTS_MAX)),
        "Avro, 250000 events": ({media: "application/avro"}, _avro(250_000)),
    }


async def _longest_wait_s(waits: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        waits.append(time.perf_counter() - before - 0.001)


async def measure() -> None:
    """Print the status and the longest wait for each body."""
    settings = Settings(
        ingest=IngestSettings(body_events_max=EVENTS_MAX),
        limits=LimitSettings(events_per_s=1e9, bytes_per_s=1e12),
        redis=RedisSettings(host=""),
    )
    with mock.patch.object(ingest_app, "EventWriter", return_value=_Acknowledging()):
        service = ingest_app.build_service(settings)
    transport = httpx2.ASGITransport(service.public)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        # The first bodies of each form load the kernels.
        for headers, content in bodies().values():
            await client.post("/v1/events", headers=headers, content=content)
        for name, (headers, content) in bodies().items():
            waits: list[float] = []
            watching = asyncio.create_task(_longest_wait_s(waits))
            await asyncio.sleep(0.05)
            begun = time.perf_counter()
            answer = await client.post("/v1/events", headers=headers, content=content)
            took_s = time.perf_counter() - begun
            watching.cancel()
            print(f"{name:55} {answer.status_code}  {took_s * 1000:7.0f} ms, longest wait {max(waits) * 1000:5.0f} ms")


if __name__ == "__main__":
    asyncio.run(measure())
