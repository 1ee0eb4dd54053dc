"""Answers questions about one video."""

import asyncio
import contextlib
from datetime import UTC, datetime, time

from schemas.kinds import blocked
from schemas.limits import VIDEO_ID_BYTES_MAX
from services.query.api.answers import videos as answers
from services.query.api.answers.kinds import KindSeries, SeriesByKind, VideoKinds
from services.query.api.endpoints.asked import Asked, of_arrivals, of_history, of_unknown
from services.query.api.endpoints.kinds import find_kinds, read_totals
from services.query.api.endpoints.points import read_points
from services.query.api.parameters.kinds import read_kinds
from services.query.api.parameters.names import check_name, read_kind
from services.query.api.parameters.series import STEPS, check_kinds_points, read_video_series
from services.query.api.parameters.times import read_day
from services.query.api.question import Question
from services.query.api.texts import utc_text
from services.query.counts.completeness import ALWAYS
from services.query.counts.partial import Unknown
from services.query.counts.points import Points
from services.query.counts.series import Series

# Of one series. Others wait, so that a question of many kinds does not keep other questions waiting.
KINDS_AT_ONCE = 4


class Videos:
    """The operations of services.query.api.operations.videos.

    They raise ParameterError, TooManyFilesError, StoreAwayError and HistoryAwayError.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def views(self, question: Question) -> answers.VideoViews | VideoKinds:
        """The totals of a video: of one kind, or of several."""
        video_id, kinds = read_video(question), read_kinds(question.query_params.all("kind"))
        if kinds.is_one:
            answer, question.until_s = await self._total(video_id, kinds.names[0])
            return answer
        now, store = self._asked.now(), self._asked.store
        known = await self._asked.knowledge.get()
        found = await find_kinds(store, question.caller, kinds, [video_id], known.history)
        await question.pay(partitions=len(found.names[video_id]))
        totals, known = await read_totals(store, found, known, now=now)
        return VideoKinds(
            video_id=video_id,
            kinds=totals[video_id],
            kinds_through=found.through,
            kinds_left_out=found.left_out_of(video_id),
            **of_arrivals(self._asked.arrivals_of(known)),
            **of_history(known.history, [(ALWAYS, now)]),
        )

    async def total(self, video_id: str, kind: str) -> answers.VideoViews:
        """The total of a video, for who listens."""
        answer, _ = await self._total(video_id, kind)
        return answer

    async def _total(self, video_id: str, kind: str) -> tuple[answers.VideoViews, float]:
        """The total of a video, and until when it may be answered."""
        now = self._asked.now()
        total = await self._asked.store.totals(
            video_id, (kind, blocked(kind)), await self._asked.knowledge.get(), now=now
        )
        views, not_counted = total.views
        imported, _ = total.imported
        answer = answers.VideoViews(
            video_id=video_id,
            kind=kind,
            views=views + imported,
            imported=imported,
            blocked=not_counted,
            late_added=total.late_added[0],
            **of_arrivals(self._asked.arrivals_of(total.known)),
            **of_history(total.known.history, [(ALWAYS, now)]),
        )
        return answer, self._asked.store.fresh_until_s(total)

    async def series(self, question: Question) -> answers.Series | SeriesByKind:
        """The views of a video over time: of one kind, or of several."""
        video_id, kinds = read_video(question), read_kinds(question.query_params.all("kind"))
        now, store, points_max = self._asked.now(), self._asked.store, self._asked.points_max
        asked = read_video_series(question.query_params, now=now, points_max=points_max)
        question.span = asked.span
        if kinds.is_one:
            question.until_s = store.fresh_from_now_until_s()
        arrivals, history = await self._asked.complete()
        before = store.minutes_cut(now) if asked.is_of_minutes else None
        closed = arrivals.closed(arrivals.complete, history.missing([asked.span], before=before))
        files = 0
        with contextlib.suppress(ConnectionError):
            # If history is away, whoever reads it says so.
            files = await store.files(video_id, asked, history, now=now)
        found = await find_kinds(store, question.caller, kinds, [video_id], history)
        names = found.names[video_id]
        check_kinds_points(asked.count * len(names), points_max)
        times = max(1, len(names))
        await question.pay(partitions=times * _partitions(asked), files=times * files, points=times * asked.count)
        of_stream, of_past = of_arrivals(arrivals, asked.span), of_history(history, [asked.span], before=before)
        if kinds.is_one:
            points, imported, unknown = await read_points(store, video_id, names[0], asked, history, closed, now=now)
            return answers.Series(points, imported, degraded=of_unknown(unknown), **of_stream, **of_past)
        at_once = asyncio.Semaphore(KINDS_AT_ONCE)
        unknown_of_any: dict[Unknown, None] = {}

        async def of_kind(kind: str) -> KindSeries:
            async with at_once:
                points, imported, unknown = await read_points(store, video_id, kind, asked, history, closed, now=now)
                unknown_of_any.update(dict.fromkeys(unknown))
                return KindSeries(kind, points, imported)

        series = await asyncio.gather(*(of_kind(kind) for kind in names))
        return SeriesByKind(
            # What nobody knows is no 0.
            kinds=[one for one in series if not found.is_all or any(point.views != 0 for point in one.points)],
            degraded=of_unknown(list(unknown_of_any)),
            kinds_through=found.through,
            kinds_left_out=found.left_out_of(video_id),
            **of_stream,
            **of_past,
        )

    async def history(self, question: Question) -> answers.DayHistory:
        """The changes of the numbers of a day."""
        video_id, kind = video_and_kind(question)
        day = read_day(question.query_params)
        start = datetime.combine(day, time(), UTC)
        question.span = (start, start + STEPS["day"])
        self._asked.store.check(await self._asked.history(), [(start, start + STEPS["day"])], now=self._asked.now())
        found = await self._asked.store.day_changes(video_id, kind, day)
        changes = [answers.DayChange(utc_text(one.at), *one[1:]) for one in found]
        return answers.DayHistory(video_id, kind, day.isoformat(), changes)


def read_video(question: Question) -> str:
    """The video that a question is about."""
    return check_name("video_id", question.path_params["video_id"], VIDEO_ID_BYTES_MAX)


def video_and_kind(question: Question) -> tuple[str, str]:
    """The video and the kind that a question is about."""
    return read_video(question), read_kind(question.query_params)


def _partitions(asked: Series | Points) -> int:
    """About how many partitions the points are in: one for each day of minutes, and for each month of hours."""
    start, end = asked.span
    return 1 + (end - start).days // (1 if asked.is_of_minutes else 30)
