"""The ingest service's HTTP half: content types, limits and status codes. Knows neither Avro nor Kafka."""

import asyncio
import contextlib
import socket
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from services.docs_page import docs_page
from services.ingest import routes
from services.ingest.answers import Result, Tally, TallyMinute
from services.ingest.events import BodyError, Parsed, Rejection, parse_avro, parse_json, parse_ndjson
from services.ingest.packing import Packed, Reach, pack
from services.ingest.tally import IngestTally
from services.ingest.writer import EventWriter, failures
from services.openapi import HEALTHZ, JSON
from settings import Settings
from settings.durations import HOUR_MS

RETRY_AFTER_S = 1
JSON_TYPES = frozenset({JSON})
NDJSON_TYPES = frozenset({routes.NDJSON, "application/ndjson", "application/jsonl"})
AVRO_TYPES = frozenset({routes.AVRO, "application/vnd.apache.avro", "avro/binary"})
_ENCODER = msgspec.json.Encoder()


class _TooLargeError(Exception):
    pass


def build_app(settings: Settings) -> Starlette:
    """The ASGI application. Its Kafka producer lives as long as the server does."""
    producer_id = f"ingest-{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    tally = IngestTally(settings.ingest.tally_minutes)
    writer = EventWriter(settings, producer_id=producer_id, tally=tally)
    endpoints = _Endpoints(settings, writer, producer_id, tally)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        writer.start()
        yield
        await writer.stop()

    page = docs_page(routes.OPENAPI)
    app = Starlette(
        routes=[
            Route(routes.EVENTS.path, endpoints.post_events, methods=[routes.EVENTS.method]),
            Route(f"{routes.EVENTS.path}/", endpoints.post_events, methods=[routes.EVENTS.method]),
            Route(routes.TALLY.path, endpoints.get_tally),
            Route(routes.METRICS.path, endpoints.metrics),
            Route(HEALTHZ.path, _healthz),
            Route(routes.READYZ.path, endpoints.readyz),
            Route("/openapi.json", lambda _request: JSONResponse(routes.OPENAPI)),
            Route("/docs", lambda _request: HTMLResponse(page)),
        ],
        lifespan=lifespan,
    )
    # A redirect would name the host and scheme that this process sees, and few clients that post follow one.
    app.router.redirect_slashes = False
    return app


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


class _Endpoints:
    def __init__(self, settings: Settings, writer: EventWriter, producer_id: str, tally: IngestTally) -> None:
        self._producer_id = producer_id
        self._tally = tally
        self._ingest = settings.ingest
        self._salts = settings.counting.salts
        self._reach = Reach(
            settings.history.late_hours * HOUR_MS + settings.ingest.past_margin_ms,
            settings.counting.future_skew_ms + settings.ingest.future_margin_ms,
        )
        self._writer = writer

    async def readyz(self, _request: Request) -> Response:
        trouble = self._writer.trouble
        return PlainTextResponse("ready\n") if trouble is None else PlainTextResponse(f"{trouble}\n", 503)

    async def get_tally(self, _request: Request) -> Response:
        minutes = [
            TallyMinute(f"{datetime.fromtimestamp(at * 60, UTC):%Y-%m-%dT%H:%M:%SZ}", minute.events, minute.records)
            for at, minute in self._tally.minutes()
        ]
        return Response(_ENCODER.encode(Tally(self._producer_id, minutes)), media_type=JSON)

    async def metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._tally.registry), media_type=CONTENT_TYPE_LATEST)

    async def post_events(self, request: Request) -> Response:
        response = await self._take(request)
        self._tally.answered(response.status_code)
        return response

    async def _take(self, request: Request) -> Response:
        media = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
        if media not in JSON_TYPES | NDJSON_TYPES | AVRO_TYPES:
            wrong = f"{media} is not supported" if media else "is missing"
            return _refusal(
                415, f"Content-Type {wrong}; send application/json, application/x-ndjson or application/avro"
            )
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            return _refusal(415, "Content-Encoding is not supported; send the body without compression")
        trouble = self._writer.trouble
        if trouble is not None:
            return _refusal(503, trouble, retry=True)
        if self._writer.events_in_flight >= self._ingest.events_in_flight_max:
            return self._busy()
        try:
            body = await self._body(request)
        except _TooLargeError:
            return _refusal(413, f"the body is larger than {self._ingest.body_bytes_max} bytes; send it in parts")
        except ClientDisconnect:
            return _refusal(400, "the client went away")
        try:
            parsed = self._parse(media, body)
        except BodyError as error:
            return _refusal(400, str(error))
        if len(parsed.events) > self._ingest.events_in_flight_max:
            return _refusal(413, f"more than {self._ingest.events_in_flight_max} events in one body; send it in parts")
        if self._writer.events_in_flight + len(parsed.events) > self._ingest.events_in_flight_max:
            return self._busy()
        now_ms = time.time_ns() // 1_000_000
        packed = pack(parsed.events, parsed.indexes, now_ms=now_ms, salts=self._salts, reach=self._reach)
        rejected = parsed.rejected + packed.rejected
        self._tally.rejected(len(rejected))
        if packed.count == 0:
            rejected.sort(key=lambda rejection: rejection.index)
            reason = "no event in the body is usable" if rejected else "the body holds no event"
            return _answer(400, Result(0, rejected, ignored=parsed.ignored or UNSET, error=reason))
        return await self._write(packed, rejected, parsed.ignored)

    async def _write(self, packed: Packed, rejected: list[Rejection], ignored: list[str]) -> Response:
        shares = self._writer.write(packed)
        await asyncio.wait({done for done, _ in shares})
        failed = failures(shares)
        rejected += [Rejection(index, None, f"not written, send it again: {reason}") for index, reason in failed]
        rejected.sort(key=lambda rejection: rejection.index)
        result = Result(packed.count - len(failed), rejected, packed.made or UNSET, ignored or UNSET)
        if result.accepted == 0:
            return _answer(503, result, retry=True)
        return _answer(202, result)

    async def _body(self, request: Request) -> bytes:
        if int(request.headers.get("content-length", "0")) > self._ingest.body_bytes_max:
            raise _TooLargeError
        chunks = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._ingest.body_bytes_max:
                raise _TooLargeError
            chunks.append(chunk)
        return b"".join(chunks)

    def _parse(self, media: str, body: bytes) -> Parsed:
        if media in JSON_TYPES:
            return parse_json(body)
        if media in NDJSON_TYPES:
            return parse_ndjson(body)
        return parse_avro(body, unpacked_bytes_max=self._ingest.body_bytes_max)

    def _busy(self) -> Response:
        return _refusal(429, f"{self._writer.events_in_flight} events wait for Kafka; try again soon", retry=True)


def _refusal(status: int, error: str, *, retry: bool = False) -> Response:
    return _answer(status, Result(0, [], error=error), retry=retry)


def _answer(status: int, result: Result, *, retry: bool = False) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if retry else None
    return Response(_ENCODER.encode(result), status, headers, JSON)
