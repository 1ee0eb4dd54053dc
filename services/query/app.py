"""The query service's ASGI applications: their routes and errors, and how long stores are open."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from connectors.redis_client import redis_client
from services.access.access import KEY_PARAMETER, READERS, TOTAL_READERS, Access
from services.access.last_use import tell_uses
from services.access.operators import operator_routes
from services.cross_origin import cross_origin
from services.docs_page import description_routes
from services.json_answer import json_answer
from services.leaving import LEAVING, Life
from services.openapi import HEALTHZ, Operation
from services.parameters import ParameterError, check_known
from services.query.api.allowed import check_names
from services.query.api.answers.refusals import Away, BadParameter, BadParameters
from services.query.api.endpoints.asked import Asked, noted_span
from services.query.api.endpoints.audits import Audits
from services.query.api.endpoints.batch import Batch
from services.query.api.endpoints.channels import Channels
from services.query.api.endpoints.health import Health
from services.query.api.endpoints.ledger import Ledger
from services.query.api.endpoints.live import Live, MayStay
from services.query.api.endpoints.top import Top
from services.query.api.endpoints.videos import Videos
from services.query.api.live.event_stream import EventStream
from services.query.api.live.hub import Hub
from services.query.api.live.reading import Reading
from services.query.api.operations.audits import AUDITS
from services.query.api.operations.batch import BATCH
from services.query.api.operations.channels import CHANNEL
from services.query.api.operations.description import OPENAPI, PRIVATE_OPENAPI
from services.query.api.operations.health import METRICS, READYZ
from services.query.api.operations.ledger import LEDGER
from services.query.api.operations.live import LIVE_TOP, LIVE_VIEWS
from services.query.api.operations.top import TOP
from services.query.api.operations.videos import HISTORY, SERIES, VIEWS
from services.query.counts.cold import History, TooManyFilesError
from services.query.counts.completeness import HistoryAwayError
from services.query.counts.overflow_watch import OverflowWatch
from services.query.counts.session import ReadSession, StoreAwayError
from services.query.counts.store import CountStore
from services.query.counts.trust import trust_headers
from services.query.counts.trust_watch import TrustWatch
from services.refused import RETRY_AFTER_S, RefusedError
from services.server import Service
from settings import Settings
from udfs.stores.archive import filesystem
from udfs.stores.history_reader import HistoryFiles
from udfs.stores.overflow_objects import OverflowObjects

A = TypeVar("A")


class _Name(Convertor[str]):
    """Accepts everything that a name may contain: slashes, and line breaks, which no other convertor accepts."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


def utc_now() -> datetime:
    """The time by the machine's clock."""
    return datetime.now(UTC)


def build_service(settings: Settings, now: Callable[[], datetime] = utc_now) -> Service:
    """The applications. The Cassandra session lives as long as the public one's server. `now` is the clock, in UTC."""
    files = HistoryFiles(filesystem(settings.s3, settings.query.history_timeout_s), settings.history.path)
    history = History(files, files_max=settings.query.history_files_max)
    session = ReadSession(settings.cassandra)
    store = CountStore(session, settings.query, history, settings.counting.declared_kinds)
    life = Life()
    registry = CollectorRegistry()
    overflow = _overflow_watch(settings, registry)
    watch = TrustWatch(store.reads, now, lateness_ms=settings.counting.lateness_ms, overflow=overflow)
    asked = Asked(settings, store, now, overflow, watch)
    of_health = Health(asked)
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
    redis = redis_client(settings.redis) if settings.redis.host else None

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        access.file.load()
        background = [
            asyncio.create_task(access.file.watch()),
            *([] if redis is None else [asyncio.create_task(tell_uses(access, redis))]),
            *([] if overflow is None else [asyncio.create_task(overflow.run())]),
        ]
        store.start()
        background.append(asyncio.create_task(asked.knowledge.run()))
        background.append(asyncio.create_task(watch.run()))
        yield
        for task in background:
            task.cancel()
        hub.stop()
        await store.stop()
        if redis is not None:
            await redis.aclose()

    async def readyz(request: Request) -> Response:
        return json_answer(Away(LEAVING), 503) if life.is_leaving else await of_health.readyz(request)

    async def metrics(request: Request) -> Response:
        figures = await of_health.metrics(request)
        return Response(bytes(figures.body) + generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    health = [
        Route(HEALTHZ.path, lambda _request: PlainTextResponse("ok\n")),
        Route(READYZ.path, readyz),
    ]
    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        ParameterError: _bad_parameter,
        TooManyFilesError: _too_many_files,
        StoreAwayError: _away,
        HistoryAwayError: _away,
        RefusedError: _denied,
    }
    public = Starlette(
        routes=[
            *_questions(asked, videos, top, access),
            *_streams(hub, access),
            *health,
            *description_routes(OPENAPI),
        ],
        exception_handlers=handlers,
        lifespan=lifespan,
        middleware=cross_origin(settings.access),
    )
    private = Starlette(
        routes=[
            Route(METRICS.path, metrics),
            *operator_routes(access),
            *health,
            *description_routes(PRIVATE_OPENAPI),
        ],
        exception_handlers=handlers,
    )
    for app in (public, private):
        # A redirect would name the host and scheme that this process sees, which are not those that the client sees.
        app.router.redirect_slashes = False
    return Service(public, private, life)


def _questions(asked: Asked, videos: Videos, top: Top, access: Access) -> list[Route]:
    """The routes of all questions: an operation, and what answers it."""
    channels, ledger = Channels(asked), Ledger(asked)
    batch = Batch(asked)
    return [
        _route(VIEWS, videos.views, asked, access, TOTAL_READERS),
        _route(SERIES, videos.series, asked, access),
        _route(HISTORY, videos.history, asked, access),
        _route(BATCH, batch.views, asked, access),
        _route(CHANNEL, channels.series, asked, access),
        _route(TOP, top.list, asked, access),
        _route(LEDGER, ledger.minutes, asked, access),
        _route(AUDITS, Audits(asked).found, asked, access),
    ]


def _streams(hub: Hub, access: Access) -> list[Route]:
    """The routes of all that can be listened to."""
    live = Live(hub)
    return [_stream_route(LIVE_VIEWS, live.views, access), _stream_route(LIVE_TOP, live.top, access)]


def _overflow_watch(settings: Settings, registry: CollectorRegistry) -> OverflowWatch | None:
    if not settings.overflow.path:
        return None
    return OverflowWatch(OverflowObjects(settings.s3, settings.overflow).names, settings.overflow.list_s, registry)


def _route(
    operation: Operation[A],
    answer: Callable[[Request], Awaitable[A]],
    asked: Asked,
    access: Access,
    scopes: frozenset[str] = READERS,
) -> Route:
    """The route of an operation. It refuses callers without such a key, and parameters that are not known."""

    async def endpoint(request: Request) -> Response:
        caller = access.caller(request, scopes)
        check_known(request.query_params, (*operation.query_names, KEY_PARAMETER))
        if operation.bodies:
            # The names are in the body, and whoever reads it checks them.
            request.state.caller = caller
        else:
            check_names(caller, request, has_kind="kind" in operation.query_names)
        found = await answer(request)
        headers = trust_headers(asked.trust, now=asked.now(), span=noted_span(request))
        return json_answer(found, operation.status, headers)

    return Route(_path(operation), endpoint, methods=[operation.method])


def _stream_route(
    operation: Operation[Any], answer: Callable[[Request, MayStay], Awaitable[EventStream]], access: Access
) -> Route:
    """The route of a stream. Who listens is looked at again and again: a stream must not outlive its key."""

    async def endpoint(request: Request) -> Response:
        caller = access.caller(request, READERS)
        check_known(request.query_params, (*operation.query_names, KEY_PARAMETER))
        check_names(caller, request, has_kind=True)

        def may_stay() -> bool:
            try:
                access.caller(request, READERS)
            except RefusedError:
                return False
            return True

        return await answer(request, may_stay)

    return Route(_path(operation), endpoint, methods=[operation.method])


def _path(operation: Operation[Any]) -> str:
    return re.sub(r"\{(\w+)\}", r"{\1:name}", operation.path)


async def _bad_parameter(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ParameterError)
    return _refused(error.field, error.value, error.reason)


async def _too_many_files(_request: Request, error: Exception) -> Response:
    assert isinstance(error, TooManyFilesError)
    return _refused("from", error.start.isoformat(), str(error))


def _refused(field: str, value: str, reason: str) -> Response:
    return json_answer(BadParameters([BadParameter(field, value, reason)]), 422)


async def _denied(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return json_answer(Away(error.error), error.status, error.headers)


async def _away(_request: Request, error: Exception) -> Response:
    return json_answer(Away(str(error)), 503, {"Retry-After": str(RETRY_AFTER_S)})
