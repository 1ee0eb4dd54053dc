"""The ingest service's applications: their routes, and what lives with the process. Knows neither Avro nor Kafka."""

import asyncio
import contextlib
import gc
import socket
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from connectors.overflow_hints import hints_of
from connectors.redis_client import redis_client
from services.access.access import Access
from services.access.last_use import tell_uses
from services.access.operators import operator_routes
from services.cross_origin import cross_origin
from services.docs_page import description_routes
from services.door import BEHIND, Door
from services.ingest import routes
from services.ingest.answers import Clock, NoSchema, Result, Tally, TallyMinute
from services.ingest.delivery import Delivery
from services.ingest.diverting import Diverter
from services.ingest.exclusions import Exclusions
from services.ingest.image import image_routes
from services.ingest.intake import Intake
from services.ingest.limits import IngestLimits
from services.ingest.marks import Marks
from services.ingest.overflow import Overflow
from services.ingest.recent.endpoint import RecentEndpoint
from services.ingest.recent.notes import Notes
from services.ingest.recent.refusals import Refusals
from services.ingest.recent.shared import SharedRecent
from services.ingest.schema_texts import schema_names, schema_text
from services.ingest.script import script_routes
from services.ingest.short_way import short_way
from services.ingest.tally import IngestTally
from services.ingest.try_page import try_routes
from services.ingest.writer import EventWriter
from services.json_answer import ENCODER, NO_STORE, json_answer
from services.leaving import LEAVING, Life
from services.limits.limiter import Limiter
from services.limits.shared import RedisBuckets
from services.loop_lag import watch as watch_loop
from services.loop_turns import Turns
from services.openapi import HEALTHZ, JSON
from services.overload import Overload
from services.server import Service
from settings import Settings
from udfs.logic.wire import event_bodies
from udfs.stores.overflow_objects import OverflowObjects

# How many more objects that hold others there are before Python looks for rings among them: that takes up to 1 µs for
# each. A request under way has some 150, and leaves no ring. At 700, Python's own choice, an eighth of the CPU time
# goes there. So many are more than those of all requests under way, so that Python hardly ever looks.
COLLECT_EVERY = 50_000


def build_service(settings: Settings) -> Service:
    """The service's applications. Its Kafka producer lives as long as the public one's server does."""
    producer_id = f"ingest-{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    tally = IngestTally(settings.ingest.tally_minutes)
    writer = EventWriter(settings, producer_id=producer_id, tally=tally)
    access = Access(settings.access, tally.registry)
    redis = redis_client(settings.redis) if settings.redis.host else None
    limiter = _limiter(settings, redis, tally)
    diverter = Diverter(settings, producer_id=producer_id, tally=tally)
    overflow = _overflow(settings, producer_id, tally)
    delivery = Delivery(writer, diverter, overflow, wait_ms=settings.overflow.wait_ms)
    notes = Notes(producer_id)
    refusals = Refusals(producer_id)
    shared = None if redis is None else SharedRecent(redis, notes, refusals)
    exclusions = Exclusions(settings.ingest.exclusions_file, tally.registry)
    limits, marks = IngestLimits(settings, limiter, tally), Marks(settings, exclusions)
    turns = Turns()
    intake = Intake(settings, writer, delivery, access, limits, marks, tally, notes, refusals, turns)
    life = Life()
    overload = Overload(settings.ingest.delay_max_ms / 1000)
    door = Door(overload, turns, ENCODER.encode(Result(0, [], error=BEHIND)), tally.overloaded)
    endpoints = _Endpoints(writer, delivery, producer_id, tally, life)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        access.file.load()
        exclusions.file.load()
        background = [
            asyncio.create_task(access.file.watch()),
            asyncio.create_task(exclusions.file.watch()),
            asyncio.create_task(watch_loop(overload, tally.loop_lag.observe)),
            *([] if shared is None else [asyncio.create_task(shared.run())]),
            *([] if redis is None else [asyncio.create_task(tell_uses(access, redis))]),
        ]
        # Before the port listens: the first body must not wait until kernels are loaded, or even compiled.
        event_bodies.warm_up()
        if overflow is not None:
            await overflow.start()
        # What is there now stays. Otherwise each full collection looks at all of it, and the loop stands for 0.1 s.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
        writer.start()
        yield
        for task in background:
            task.cancel()
        await writer.stop()
        if overflow is not None:
            await overflow.stop()
        await limiter.close()
        if redis is not None:
            await redis.aclose()

    health = [Route(HEALTHZ.path, _healthz), Route(routes.READYZ.path, endpoints.readyz)]
    public = Starlette(
        routes=[
            Route(routes.EVENTS.path, intake.post_events, methods=[routes.EVENTS.method]),
            Route(f"{routes.EVENTS.path}/", intake.post_events, methods=[routes.EVENTS.method]),
            Route(routes.RECENT.path, RecentEndpoint(access, notes, refusals, shared).get),
            Route(routes.TIME.path, _time),
            Route(routes.SCHEMA.path, _schema),
            *script_routes(settings.ingest.script_path),
            *image_routes(settings.ingest.image_path, intake.post_events),
            *(try_routes(settings.ingest.script_path) if access.is_open else ()),
            *health,
            *description_routes(routes.OPENAPI),
        ],
        lifespan=lifespan,
        middleware=cross_origin(settings.access),
    )
    private = Starlette(
        routes=[
            Route(routes.TALLY.path, endpoints.get_tally),
            Route(routes.METRICS.path, endpoints.metrics),
            *operator_routes(access),
            *health,
            *description_routes(routes.PRIVATE_OPENAPI),
        ]
    )
    for app in (public, private):
        # A redirect would name the host and scheme that this process sees, and few clients that post follow one.
        app.router.redirect_slashes = False
    return Service(public, private, life, door, short_way(public, intake.post_events))


def _overflow(settings: Settings, producer_id: str, tally: IngestTally) -> Overflow | None:
    if not settings.overflow.path:
        return None
    put = OverflowObjects(settings.s3, settings.overflow).put
    tell = hints_of(settings, producer_id).tell
    return Overflow(settings.overflow, put, producer_id=producer_id, tally=tally, tell=tell)


def _limiter(settings: Settings, redis: Redis | None, tally: IngestTally) -> Limiter:
    limits = settings.limits
    return Limiter(
        None if redis is None else RedisBuckets(redis),
        processes=limits.processes,
        lease_s=limits.lease_ms / 1000,
        callers_max=limits.callers_max,
        clock=time.monotonic,
        heard=tally.limits_shared.set,
    )


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _time(_request: Request) -> Response:
    now = Clock(time.time_ns() // 1_000_000)
    return json_answer(now, headers=NO_STORE)


async def _schema(request: Request) -> Response:
    name = request.path_params["name"]
    text = schema_text(name)
    if text is not None:
        return Response(text, media_type=JSON)
    error = f"there is no schema {name:.80}; there are: {', '.join(schema_names())}"
    return json_answer(NoSchema(error), 404)


class _Endpoints:
    def __init__(
        self, writer: EventWriter, delivery: Delivery, producer_id: str, tally: IngestTally, life: Life
    ) -> None:
        self._delivery = delivery
        self._life = life
        self._producer_id = producer_id
        self._tally = tally
        self._writer = writer

    async def readyz(self, _request: Request) -> Response:
        trouble = LEAVING if self._life.is_leaving else self._delivery.trouble
        if trouble is not None:
            return PlainTextResponse(f"{trouble}\n", 503)
        refused = "".join(f"takes no events of one partition: {reason}\n" for reason in self._writer.partial_trouble)
        detour = self._delivery.detour
        stored = "" if detour is None else f"stores events in overflow: {detour}\n"
        return PlainTextResponse(f"ready\n{stored}{refused}")

    async def get_tally(self, _request: Request) -> Response:
        minutes = [
            TallyMinute(f"{datetime.fromtimestamp(at * 60, UTC):%Y-%m-%dT%H:%M:%SZ}", minute.events, minute.records)
            for at, minute in self._tally.minutes()
        ]
        return json_answer(Tally(self._producer_id, minutes, self._tally.events_diverted, self._tally.events_stored))

    async def metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._tally.registry), media_type=CONTENT_TYPE_LATEST)
