"""Answers requests: reads the parameters, asks the store, and puts the result into a struct."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from types import EllipsisType
from typing import TypedDict

from msgspec import UNSET
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from schemas.kinds import blocked
from schemas.ledger import FATES, LEDGER_COLUMNS
from schemas.limits import ABOUT_BYTES_MAX, VIDEO_ID_BYTES_MAX
from services.query.api import answers
from services.query.api.parameters import (
    STEPS,
    check_name,
    read_channel_series,
    read_day,
    read_kind,
    read_ledger_minutes,
    read_local_days,
    read_series,
    read_top,
)
from services.query.counts.arrivals import Arrivals, overflow_notice
from services.query.counts.completeness import ALWAYS, FOR_EVER, HistoryState, history_state, lost_notice, notices
from services.query.counts.overflow_watch import OverflowWatch
from services.query.counts.series import Series
from services.query.counts.spans import Span
from services.query.counts.store import CountStore
from services.query.counts.top import ClosedTopQuestion, TopVideo
from services.query.metrics import exposition
from settings import Settings

# A minute of arrival that began this long before the current one is in the ledger, unless something is wrong.
LEDGER_SETTLED = timedelta(minutes=2)
MINUTE = timedelta(minutes=1)
# The newest lists of the stream are made of two hours.
REACH_OF_LISTS = timedelta(hours=3)


class Endpoints:
    """One method for each operation of services.query.api.routes.

    Methods raise ParameterError, TooManyFilesError, StoreAwayError and HistoryAwayError.
    """

    def __init__(
        self, settings: Settings, store: CountStore, now: Callable[[], datetime], overflow: OverflowWatch | None = None
    ) -> None:
        self._overflow = overflow
        self._list_s = settings.overflow.list_s
        self._late_hours = settings.history.late_hours
        self._lateness_ms = settings.counting.lateness_ms
        self._points_max = settings.query.points_max
        self._history_path = settings.history.path
        self._store = store
        self._now = now

    async def views(self, request: Request) -> answers.VideoViews:
        """The total of a video."""
        video_id, kind = _names(request)
        now = self._now()
        arrivals, history = await self._complete()
        (views, not_counted), (imported,) = await asyncio.gather(
            self._store.totals(video_id, (kind, blocked(kind)), history, now=now),
            self._store.imported(video_id, (kind,), history),
        )
        return answers.VideoViews(
            video_id=video_id,
            kind=kind,
            views=views + imported,
            imported=imported,
            blocked=not_counted,
            **_of_arrivals(arrivals),
            **_of_history(history, [(ALWAYS, now)]),
        )

    async def series(self, request: Request) -> answers.Series:
        """The views of a video over time."""
        video_id, kind = _names(request)
        now, query = self._now(), request.query_params
        before: datetime | None = None
        imported: int | None = None
        if "zone" in query:
            days = read_local_days(query, now=now, points_max=self._points_max)
            span = days.bounds[0], days.bounds[-1]
            arrivals, history = await self._complete()
            there = await self._store.local_days(video_id, kind, days, history, now=now)
            points = [answers.Point(start.isoformat(), views) for start, views in there]
        else:
            series = read_series(query, now=now, points_max=self._points_max)
            span = series.start, series.end
            arrivals, history = await self._complete()
            found = await self._store.series(video_id, kind, series, history, now=now)
            points = [answers.Point(_utc(start), views) for start, views in found]
            if series.step == STEPS["minute"]:
                before = self._store.minutes_cut(now)
            if series.step == STEPS["day"]:
                marked, added = await asyncio.gather(
                    self._store.marked(video_id, kind, series),
                    self._store.imported_days(video_id, kind, series, history),
                )
                for point, (start, _) in zip(points, found, strict=True):
                    point.marked = marked.get(start)
                    if start in added:
                        point.imported = added[start]
                        point.views += added[start]
                imported = sum(added.values())
        return answers.Series(
            points, imported, **_of_arrivals(arrivals, span), **_of_history(history, [span], before=before)
        )

    async def history(self, request: Request) -> answers.DayHistory:
        """The changes of the numbers of a day."""
        video_id, kind = _names(request)
        day = read_day(request.query_params)
        start = datetime.combine(day, time(), UTC)
        self._store.check(await self._known(), [(start, start + STEPS["day"])], now=self._now())
        found = await self._store.day_changes(video_id, kind, day)
        changes = [answers.DayChange(_utc(one.at), *one[1:]) for one in found]
        return answers.DayHistory(video_id, kind, day.isoformat(), changes)

    async def channel(self, request: Request) -> answers.ChannelSeries:
        """The views of a channel by the hour."""
        channel_id = check_name("channel_id", request.path_params["channel_id"], ABOUT_BYTES_MAX)
        kind = read_kind(request.query_params)
        now = self._now()
        series = read_channel_series(request.query_params, now=now, points_max=self._points_max)
        arrivals, history = await self._complete()
        found = await self._store.channel_hours(channel_id, kind, series, history, now=now)
        span = series.start, series.end
        return answers.ChannelSeries(
            [answers.ChannelPoint(_utc(start), views) for start, views in found],
            **_of_arrivals(arrivals, span, complete=history.through),
            **_of_history(history, [span]),
        )

    async def top(self, request: Request) -> answers.TopVideos | answers.ClosedTopVideos:
        """A list of top videos."""
        question = read_top(request.query_params)
        if isinstance(question, ClosedTopQuestion):
            return await self._closed_top(question)
        now = self._now()
        arrivals = await self._arrivals()
        found = await self._store.top(question, now=now)
        return answers.TopVideos(
            kind=question.kind,
            span=question.span,
            minute=_time(found.minute),
            videos=[_ranked(video, is_compared=question.span == "trending") for video in found.videos],
            exact=not found.left_out,
            not_exact_because=_left_out(question.kind, found.left_out) if found.left_out else None,
            **_of_arrivals(arrivals, (now - REACH_OF_LISTS, FOR_EVER)),
        )

    async def _closed_top(self, question: ClosedTopQuestion) -> answers.ClosedTopVideos:
        arrivals, history = await self._complete()
        found = await self._store.closed_top(question, history, now=self._now())
        of_list: list[Span] = [] if found is None else [(found.start, found.complete_through)]
        through = found and found.complete_through
        videos = [answers.CountedVideo(one.video_id, one.views) for one in (found.videos if found else [])]
        return answers.ClosedTopVideos(
            kind=question.kind,
            span=question.span,
            country=question.country,
            start=_time(found and found.start),
            videos=videos,
            **_of_arrivals(arrivals, of_list[0] if of_list else None, complete=through),
            **_of_history(history, of_list),
        )

    async def ledger(self, request: Request) -> answers.Ledger:
        """The ledger by minute of arrival."""
        minutes = read_ledger_minutes(request.query_params, now=self._now())
        found = await self._store.ledger(minutes)
        total = {name: sum(tally[name] for tally in found.values()) for name in LEDGER_COLUMNS}
        return answers.Ledger(
            [
                answers.TallyMinute(start=_utc(start), balanced=_is_balanced(tally), **tally)
                for start, tally in sorted(found.items())
            ],
            answers.Tally(balanced=_is_balanced(total), **total),
        )

    async def metrics(self, _request: Request) -> Response:
        """Metrics for Prometheus."""
        minute = self._now().replace(second=0, microsecond=0) - LEDGER_SETTLED
        found = await self._store.ledger(Series(MINUTE, minute, minute + MINUTE))
        tally = found.get(minute, dict.fromkeys(LEDGER_COLUMNS, 0))
        complete, register = await asyncio.gather(self._store.complete_through(), self._store.register())
        text = exposition(
            tally,
            is_balanced=_is_balanced(tally),
            complete_through=complete,
            applied=None if register is None else register.applied,
            missing_records=sum(one.records for one in await self._store.lost()),
        )
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def readyz(self, _request: Request) -> Response:
        """Whether counts can be read, and in further lines what is wrong with history or the stream."""
        _, register = await asyncio.gather(self._store.complete_through(), self._store.register())
        # Trouble with history is only reported: the service can still answer, and no restart would remove the trouble.
        lost = lost_notice(await self._store.lost())
        lines = ["ready", *notices(register, path=self._history_path, now=self._now()), *lost, *self._of_overflow()]
        return PlainTextResponse("".join(f"{line}\n" for line in lines))

    def _of_overflow(self) -> Sequence[str]:
        if self._overflow is None:
            return ()
        listing = self._overflow.listing
        return overflow_notice(listing, now=self._now(), list_s=self._list_s, late_hours=self._late_hours)

    async def _complete(self) -> tuple[Arrivals, HistoryState]:
        """How far the stream and history are complete. Read it before any number."""
        return await asyncio.gather(self._arrivals(), self._known())

    async def _arrivals(self) -> Arrivals:
        """How far the stream is complete. Read it before any number."""
        # Before progress: what was drained and deleted since must be counted by then.
        listing = None if self._overflow is None else self._overflow.listing
        complete = await self._store.complete_through()
        return Arrivals(complete, listing, self._lateness_ms, is_watched=self._overflow is not None)

    async def _known(self) -> HistoryState:
        """Which state of history the tables hold. Raises HistoryAwayError."""
        return history_state(await self._store.register(), await self._store.lost())


class _OfArrivals(TypedDict):
    complete_through: str | None
    arrivals_through: str | None
    waiting: answers.Waiting | None


def _of_arrivals(
    arrivals: Arrivals, span: Span | None = None, *, complete: datetime | EllipsisType | None = ...
) -> _OfArrivals:
    """What an answer about this span says about events that are not in it yet.

    `complete` is how far it is complete otherwise: as far as the stream, unless that is given.
    """
    otherwise = arrivals.complete if complete is ... else complete
    waits = arrivals.waiting(span)
    return {
        "complete_through": _time(arrivals.complete_through(otherwise, span)),
        "arrivals_through": _time(arrivals.through(span)),
        "waiting": waits and answers.Waiting(waits.events, _utc(datetime.fromtimestamp(waits.since_ms / 1000, UTC))),
    }


class _OfHistory(TypedDict):
    late_through: str | None
    history_revision: int
    missing: list[answers.MissingSpan]


def _of_history(history: HistoryState, spans: Sequence[Span], *, before: datetime | None = None) -> _OfHistory:
    """What an answer about these spans says about the history that it came from."""
    missing = history.missing(spans, before=before)
    return {
        "late_through": _time(history.late_through),
        "history_revision": history.revision,
        "missing": [answers.MissingSpan(None if start == ALWAYS else _utc(start), _utc(end)) for start, end in missing],
    }


def _ranked(video: TopVideo, *, is_compared: bool) -> answers.RankedVideo:
    about = video.about
    return answers.RankedVideo(
        video_id=video.video_id,
        views=video.views,
        before=video.before if is_compared else UNSET,
        title=about and about.title,
        channel_id=about and about.channel_id,
        channel_name=about and about.channel_name,
        created_at=about and _time(about.created_at),
    )


def _left_out(kind: str, shards: int) -> str:
    return (
        f"{shards} shards had more kinds than they rank and left this one out, so videos may be missing; to rank it "
        f"always, name {kind} in VIEW_COUNTS_COUNTING_RANKED_KINDS"
    )


def _is_balanced(tally: Mapping[str, int]) -> bool:
    """Whether every event received has exactly one fate."""
    return tally["received"] == sum(tally[fate] for fate in FATES)


def _names(request: Request) -> tuple[str, str]:
    """The video and the kind that a request is about."""
    video_id = check_name("video_id", request.path_params["video_id"], VIDEO_ID_BYTES_MAX)
    return video_id, read_kind(request.query_params)


def _utc(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(at: datetime | None) -> str | None:
    return None if at is None else _utc(at)
