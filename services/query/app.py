"""The query service's HTTP half: routes, status codes and the shape of answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from schemas.kinds import blocked
from schemas.ledger import FATES, LEDGER_COLUMNS
from schemas.limits import ABOUT_BYTES_MAX, VIDEO_ID_BYTES_MAX
from services.openapi import docs_page
from services.query.cold import History
from services.query.completeness import ALWAYS, HistoryAwayError, Known, known, lost_notice, notices
from services.query.metrics import exposition
from services.query.openapi import OPENAPI
from services.query.parameters import (
    KIND_BYTES_MAX,
    STEPS,
    ClosedTopQuestion,
    ParameterError,
    Series,
    check_known,
    check_name,
    read_day,
    read_ledger_minutes,
    read_local_days,
    read_series,
    read_top,
)
from services.query.spans import Span
from services.query.store import CountStore, StoreAwayError
from services.query.top import About, TopVideo
from settings import Settings
from udfs.sources.archive import filesystem
from udfs.sources.history import HistoryFiles

RETRY_AFTER_S = 1
# The ledger of a minute that began this long before the current one is written, or something is wrong.
LEDGER_SETTLED = timedelta(minutes=2)
MINUTE = timedelta(minutes=1)
_ENCODER = msgspec.json.Encoder()


class _Name(Convertor[str]):
    """All that a name may have in it: slashes, and line breaks, which no other convertor takes."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


def build_app(settings: Settings, now: Callable[[], datetime] = utc_now) -> Starlette:
    """The ASGI application; its Cassandra session lives as long as the server. `now`: the clock, UTC."""
    files = HistoryFiles(filesystem(settings.s3, settings.query.history_timeout_s), settings.history.path)
    history = History(files, files_max=settings.query.history_files_max)
    store = CountStore(settings.cassandra, settings.query, history)
    endpoints = _Endpoints(settings, store, now)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        store.start()
        yield
        await store.stop()

    page = docs_page(OPENAPI)
    app = Starlette(
        routes=[
            Route("/v1/videos/{video_id:name}/views", endpoints.views),
            Route("/v1/videos/{video_id:name}/series", endpoints.series),
            Route("/v1/videos/{video_id:name}/history", endpoints.history),
            Route("/v1/channels/{channel_id:name}/series", endpoints.channel),
            Route("/v1/top", endpoints.top),
            Route("/v1/ledger", endpoints.ledger),
            Route("/metrics", endpoints.metrics),
            Route("/healthz", lambda _request: PlainTextResponse("ok\n")),
            Route("/readyz", endpoints.readyz),
            Route("/openapi.json", lambda _request: JSONResponse(OPENAPI)),
            Route("/docs", lambda _request: HTMLResponse(page)),
        ],
        exception_handlers={ParameterError: _bad_parameter, StoreAwayError: _away, HistoryAwayError: _away},
        lifespan=lifespan,
    )
    # A redirect would name the host and scheme that this process sees, which are not those of whoever asked.
    app.router.redirect_slashes = False
    return app


class _Endpoints:
    def __init__(self, settings: Settings, store: CountStore, now: Callable[[], datetime]) -> None:
        self._points_max = settings.query.points_max
        self._history_path = settings.history.path
        self._store = store
        self._now = now

    async def views(self, request: Request) -> Response:
        check_known(request.query_params, "kind")
        video_id, kind = _names(request)
        now = self._now()
        complete, history = await self._complete()
        views, not_counted = await self._store.totals(video_id, (kind, blocked(kind)), history, now=now)
        return _json(
            {
                "video_id": video_id,
                "kind": kind,
                "views": views,
                "blocked": not_counted,
                "complete_through": _time(complete),
                **_of_history(history, history.missing([(ALWAYS, now)])),
            }
        )

    async def series(self, request: Request) -> Response:
        check_known(request.query_params, "kind", "granularity", "from", "to", "zone")
        video_id, kind = _names(request)
        now, query = self._now(), request.query_params
        before: datetime | None = None
        if "zone" in query:
            days = read_local_days(query, now=now, points_max=self._points_max)
            span = days.bounds[0], days.bounds[-1]
            complete, history = await self._complete()
            there = await self._store.local_days(video_id, kind, days, history, now=now)
            points = [{"start": start.isoformat(), "views": views} for start, views in there]
        else:
            series = read_series(query, now=now, points_max=self._points_max)
            span = series.start, series.end
            complete, history = await self._complete()
            found = await self._store.series(video_id, kind, series, history, now=now)
            points = _points(found)
            if series.step == STEPS["minute"]:
                before = self._store.minutes_cut(now)
            if series.step == STEPS["day"]:
                marked = await self._store.marked(video_id, kind, series)
                for point, (start, _) in zip(points, found, strict=True):
                    point["marked"] = marked.get(start)
        missing = history.missing([span], before=before)
        return _json({"points": points, "complete_through": _time(complete), **_of_history(history, missing)})

    async def history(self, request: Request) -> Response:
        check_known(request.query_params, "kind", "day")
        video_id, kind = _names(request)
        day = read_day(request.query_params)
        start = datetime.combine(day, time(), UTC)
        self._store.check(await self._known(), [(start, start + STEPS["day"])], now=self._now())
        changes = await self._store.day_changes(video_id, kind, day)
        return _json(
            {
                "video_id": video_id,
                "kind": kind,
                "day": day.isoformat(),
                "changes": [{**change._asdict(), "at": _time(change.at)} for change in changes],
            }
        )

    async def top(self, request: Request) -> Response:
        check_known(request.query_params, "kind", "span", "country", "limit", "at")
        question = read_top(request.query_params)
        if isinstance(question, ClosedTopQuestion):
            return await self._closed_top(question)
        complete = await self._store.complete_through()
        found = await self._store.top(question, now=self._now())
        return _json(
            {
                "kind": question.kind,
                "span": question.span,
                "minute": _time(found.minute),
                "videos": [_ranked(video, is_compared=question.span == "trending") for video in found.videos],
                "exact": not found.left_out,
                "not_exact_because": _left_out(question.kind, found.left_out) if found.left_out else None,
                "complete_through": _time(complete),
            }
        )

    async def _closed_top(self, question: ClosedTopQuestion) -> Response:
        history = await self._known()
        found = await self._store.closed_top(question, history, now=self._now())
        of_list: list[Span] = [] if found is None else [(found.start, found.complete_through)]
        return _json(
            {
                "kind": question.kind,
                "span": question.span,
                "country": question.country,
                "start": _time(found and found.start),
                "videos": [{"video_id": one.video_id, "views": one.views} for one in (found.videos if found else [])],
                "complete_through": _time(found and found.complete_through),
                **_of_history(history, history.missing(of_list)),
            }
        )

    async def channel(self, request: Request) -> Response:
        check_known(request.query_params, "kind", "granularity", "from", "to")
        channel_id = check_name("channel_id", request.path_params["channel_id"], ABOUT_BYTES_MAX)
        kind = check_name("kind", request.query_params.get("kind", "view"), KIND_BYTES_MAX)
        query = {"granularity": "hour", **request.query_params}
        if query["granularity"] != "hour":
            raise ParameterError("granularity", query["granularity"], "must be hour: channels are counted by the hour")
        now = self._now()
        series = read_series(query, now=now, points_max=self._points_max)
        history = await self._known()
        found = await self._store.channel_hours(channel_id, kind, series, history, now=now)
        missing = history.missing([(series.start, series.end)])
        return _json(
            {
                "points": _points(found),
                "complete_through": _time(history.through),
                **_of_history(history, missing),
            }
        )

    async def ledger(self, request: Request) -> Response:
        check_known(request.query_params, "from", "to")
        minutes = read_ledger_minutes(request.query_params, now=self._now())
        found = await self._store.ledger(minutes)
        total = {name: sum(tally[name] for tally in found.values()) for name in LEDGER_COLUMNS}
        return _json(
            {
                "minutes": [{"start": _time(start), **_balanced(tally)} for start, tally in sorted(found.items())],
                "total": _balanced(total),
            }
        )

    async def metrics(self, _request: Request) -> Response:
        minute = self._now().replace(second=0, microsecond=0) - LEDGER_SETTLED
        found = await self._store.ledger(Series(MINUTE, minute, minute + MINUTE))
        tally = _balanced(found.get(minute, dict.fromkeys(LEDGER_COLUMNS, 0)))
        is_balanced = bool(tally.pop("balanced"))
        complete, register = await asyncio.gather(self._store.complete_through(), self._store.register())
        applied = None if register is None else register.applied
        missing = sum(one.records for one in await self._store.lost())
        text = exposition(
            tally, is_balanced=is_balanced, complete_through=complete, applied=applied, missing_records=missing
        )
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def readyz(self, _request: Request) -> Response:
        _, register = await asyncio.gather(self._store.complete_through(), self._store.register())
        # What is not as it should be with history is for operators: other answers are given, and no restart mends it.
        lost = lost_notice(await self._store.lost())
        lines = ["ready", *notices(register, path=self._history_path, now=self._now()), *lost]
        return PlainTextResponse("".join(f"{line}\n" for line in lines))

    async def _complete(self) -> tuple[datetime | None, Known]:
        """How far the stream and history are; to be read before any number is."""
        complete, history = await asyncio.gather(self._store.complete_through(), self._known())
        return complete, history

    async def _known(self) -> Known:
        """What the tables have. Raises HistoryAwayError."""
        return known(await self._store.register(), await self._store.lost())


def _of_history(history: Known, missing: Sequence[Span]) -> dict[str, Any]:
    """What an answer says of the history that it came from."""
    return {
        "late_through": _time(history.late_through),
        "history_revision": history.revision,
        "missing": [{"from": None if start == ALWAYS else _time(start), "to": _time(end)} for start, end in missing],
    }


def _points(found: Iterable[tuple[datetime, int | None]]) -> list[dict[str, Any]]:
    return [{"start": _time(start), "views": views} for start, views in found]


def _ranked(video: TopVideo, *, is_compared: bool) -> dict[str, str | int | None]:
    found: dict[str, str | int | None] = {"video_id": video.video_id, "views": video.views}
    if is_compared:
        found["before"] = video.before
    if video.about is None:
        return {**found, **dict.fromkeys(About._fields)}
    return {**found, **video.about._asdict(), "created_at": _time(video.about.created_at)}


def _left_out(kind: str, shards: int) -> str:
    return (
        f"{shards} shards had more kinds than they rank and left this one out, so that videos may be missing; to have "
        f"it ranked always, name {kind} in VIEW_COUNTS_COUNTING_RANKED_KINDS"
    )


def _balanced(tally: dict[str, int]) -> dict[str, int | bool]:
    return {**tally, "balanced": tally["received"] == sum(tally[fate] for fate in FATES)}


def _names(request: Request) -> tuple[str, str]:
    return (
        check_name("video_id", request.path_params["video_id"], VIDEO_ID_BYTES_MAX),
        check_name("kind", request.query_params.get("kind", "view"), KIND_BYTES_MAX),
    )


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.strftime("%Y-%m-%dT%H:%M:%SZ")


async def _bad_parameter(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ParameterError)
    return _json({"errors": [{"field": error.field, "value": error.value, "reason": error.reason}]}, 422)


async def _away(_request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 503, {"Retry-After": str(RETRY_AFTER_S)})


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_ENCODER.encode(content), status, headers, "application/json")
