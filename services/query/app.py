"""The query service's ASGI applications: their routes and errors, and how long stores are open."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from connectors.redis_client import redis_client
from services.access.access import TOTAL_READERS, Access
from services.access.last_use import tell_uses
from services.access.operators import operator_routes
from services.cross_origin import cross_origin
from services.docs_page import description_routes
from services.json_answer import problem_answer
from services.leaving import LEAVING, Life
from services.limits.limiter import Limiter
from services.limits.shared import RedisBuckets
from services.openapi import HEALTHZ
from services.problems import problem
from services.query.api.answering import Answering
from services.query.api.budget import Budget
from services.query.api.endpoints.asked import Asked
from services.query.api.endpoints.audience import Audience
from services.query.api.endpoints.audits import Audits
from services.query.api.endpoints.badge import Badges
from services.query.api.endpoints.batch import Batch
from services.query.api.endpoints.channels import Channels
from services.query.api.endpoints.health import Health
from services.query.api.endpoints.ledger import Ledger
from services.query.api.endpoints.live import Live
from services.query.api.endpoints.search import Search
from services.query.api.endpoints.top import Top
from services.query.api.endpoints.videos import Videos
from services.query.api.live.hub import Hub
from services.query.api.live.reading import Reading
from services.query.api.operations.audience import BREAKDOWN, VIEWERS
from services.query.api.operations.audits import AUDITS
from services.query.api.operations.badge import BADGE
from services.query.api.operations.batch import BATCH
from services.query.api.operations.channels import CHANNEL, CHANNEL_VIEWS
from services.query.api.operations.description import OPENAPI, PRIVATE_OPENAPI
from services.query.api.operations.health import METRICS, READYZ
from services.query.api.operations.ledger import LEDGER
from services.query.api.operations.live import LIVE_TOP, LIVE_VIEWS
from services.query.api.operations.search import SEARCH
from services.query.api.operations.top import TOP
from services.query.api.operations.videos import HISTORY, SERIES, VIEWS
from services.query.api.public import embed_route
from services.query.api.refusing import HANDLERS, RETRY
from services.query.cache.shared import Shared
from services.query.counts.cold import History
from services.query.counts.overflow_watch import OverflowWatch
from services.query.counts.rolled_hours import KEPT_S, RolledHours
from services.query.counts.session import ReadSession, StoreAwayError
from services.query.counts.store import CountStore
from services.query.counts.trust_watch import TrustWatch
from services.query.metrics import add_stores
from services.query.short_way import short_way
from services.query.titles.following import Following
from services.server import Service
from services.stamped import Stamped
from settings import Settings
from udfs.stores.archive import filesystem
from udfs.stores.history_reader import HistoryFiles
from udfs.stores.overflow_objects import OverflowObjects


def utc_now() -> datetime:
    """The time by the machine's clock."""
    return datetime.now(UTC)


def build_service(settings: Settings, now: Callable[[], datetime] = utc_now) -> Service:
    """The applications. The Cassandra session lives as long as the public one's server. `now` is the clock, in UTC."""
    files = HistoryFiles(filesystem(settings.s3, settings.query.history_timeout_s), settings.history.path)
    history = History(
        files,
        files_max=settings.query.history_files_max,
        timeout_s=settings.query.history_timeout_s,
        answer_timeout_s=settings.query.history_answer_timeout_s,
        held_bytes_max=settings.query.held_share_bytes,
    )
    session = ReadSession(settings.cassandra, settings.query.cassandra_timeout_s)
    redis = redis_client(settings.redis) if settings.redis.host else None
    store = CountStore(
        session, settings.query, history, settings.counting.declared_kinds, _rolled_hours(settings, session, redis)
    )
    life = Life()
    registry = CollectorRegistry()
    add_stores(registry, {"cassandra": lambda: session.is_away, "object_store": lambda: history.is_away})
    overflow = _overflow_watch(settings, registry)
    watch = TrustWatch(store.reads, now, lateness_ms=settings.counting.lateness_ms, overflow=overflow)
    asked = Asked(settings, store, now, overflow, watch)
    of_health = Health(asked)
    following = _following(settings)
    videos, top = Videos(asked), Top(asked)
    reading = Reading(asked, videos, top)
    hub = Hub(
        reading.read,
        reading.cost,
        listeners_max=settings.query.listeners_max,
        life=life,
        now=now,
        registry=registry,
    )
    access = Access(settings.access, registry)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        access.file.load()
        background = [
            asyncio.create_task(access.file.watch()),
            *([] if redis is None else [asyncio.create_task(tell_uses(access, redis))]),
            *([] if overflow is None else [asyncio.create_task(overflow.run())]),
        ]
        if following is not None:
            following.start()
        store.start()
        background.append(asyncio.create_task(asked.knowledge.run()))
        background.append(asyncio.create_task(watch.run()))
        yield
        for task in background:
            task.cancel()
        hub.stop()
        if following is not None:
            await asyncio.to_thread(following.stop)
        await store.stop()
        await limiter.close()
        if redis is not None:
            await redis.aclose()

    async def readyz(request: Request) -> Response:
        if life.is_leaving:
            return problem_answer(problem(503, LEAVING), RETRY)
        return await of_health.readyz(request)

    async def metrics(request: Request) -> Response:
        try:
            counts = bytes((await of_health.metrics(request)).body)
        except StoreAwayError:
            # What the process knows by itself is worth most then.
            counts = b""
        return Response(counts + generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    health = [
        Route(HEALTHZ.path, lambda _request: PlainTextResponse("ok\n")),
        Route(READYZ.path, readyz),
    ]
    limiter = _limiter(settings, redis, registry)
    answering = Answering(access, asked, Budget(settings, limiter), following)
    public = Starlette(
        routes=[
            *_questions(asked, videos, top, following, answering),
            *_streams(hub, answering),
            answering.picture_route(BADGE, Badges(videos, following).badge),
            embed_route(),
            *health,
            *description_routes(OPENAPI),
        ],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
        middleware=[Middleware(Stamped), *cross_origin(settings.access)],
    )
    private = Starlette(
        routes=[
            Route(METRICS.path, metrics),
            *operator_routes(access),
            *health,
            *description_routes(PRIVATE_OPENAPI),
        ],
        exception_handlers=HANDLERS,
        middleware=[Middleware(Stamped)],
    )
    for app in (public, private):
        # A redirect would name the host and scheme that this process sees, which are not those that the client sees.
        app.router.redirect_slashes = False
    views = answering.endpoint(VIEWS, videos.views, TOTAL_READERS)
    return Service(public, private, life, front=short_way(public, views))


def _questions(
    asked: Asked, videos: Videos, top: Top, following: Following | None, answering: Answering
) -> list[Route]:
    """The routes of all questions: an operation, and what answers it."""
    channels, ledger = Channels(asked), Ledger(asked)
    batch, audience = Batch(asked, following), Audience(asked)
    return [
        answering.route(VIEWS, videos.views, TOTAL_READERS),
        answering.route(SERIES, videos.series),
        answering.route(HISTORY, videos.history),
        answering.route(BREAKDOWN, audience.breakdown),
        answering.route(VIEWERS, audience.viewers),
        answering.route(BATCH, batch.views),
        answering.route(CHANNEL, channels.series),
        # After the series, since the name of a channel may have slashes.
        answering.route(CHANNEL_VIEWS, channels.views),
        answering.route(TOP, top.list),
        answering.route(LEDGER, ledger.minutes),
        answering.route(SEARCH, Search(following).find),
        answering.route(AUDITS, Audits(asked).found),
    ]


def _streams(hub: Hub, answering: Answering) -> list[Route]:
    """The routes of all that can be listened to."""
    live = Live(hub)
    return [answering.stream_route(LIVE_VIEWS, live.views), answering.stream_route(LIVE_TOP, live.top)]


def _following(settings: Settings) -> Following | None:
    bytes_max = settings.query.search_bytes_max
    return Following(settings.kafka, bytes_max) if bytes_max else None


def _limiter(settings: Settings, redis: Redis | None, registry: CollectorRegistry) -> Limiter:
    shared = Gauge(
        "view_counts_query_limits_shared",
        "1 if limits of callers are shared with other processes by Redis, 0 if this one gives its own share.",
        registry=registry,
    )
    return Limiter(
        None if redis is None else RedisBuckets(redis),
        processes=settings.query.processes,
        lease_s=settings.limits.lease_ms / 1000,
        callers_max=settings.limits.callers_max,
        clock=time.monotonic,
        heard=shared.set,
    )


def _rolled_hours(settings: Settings, session: ReadSession, redis: Redis | None) -> RolledHours:
    if not settings.query.fresh_ms:
        return RolledHours(session)
    return RolledHours(
        session,
        Shared(redis, kept_s=KEPT_S),
        keyspace=settings.cassandra.keyspace,
        bytes_max=settings.query.held_share_bytes,
    )


def _overflow_watch(settings: Settings, registry: CollectorRegistry) -> OverflowWatch | None:
    if not settings.overflow.path:
        return None
    return OverflowWatch(OverflowObjects(settings.s3, settings.overflow).names, settings.overflow.list_s, registry)
