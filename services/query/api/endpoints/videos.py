"""Answers questions about one video."""

import contextlib
from datetime import UTC, datetime, time

from schemas.kinds import blocked
from schemas.limits import VIDEO_ID_BYTES_MAX
from services.query.api.answers import videos as answers
from services.query.api.endpoints.asked import Asked, of_arrivals, of_history, of_unknown
from services.query.api.endpoints.points import read_points
from services.query.api.parameters.names import check_name, read_kind
from services.query.api.parameters.series import STEPS, read_video_series
from services.query.api.parameters.times import read_day
from services.query.api.question import Question
from services.query.api.texts import utc_text
from services.query.counts.completeness import ALWAYS
from services.query.counts.points import Points
from services.query.counts.series import Series


class Videos:
    """The operations of services.query.api.operations.videos.

    They raise ParameterError, TooManyFilesError, StoreAwayError and HistoryAwayError.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def views(self, question: Question) -> answers.VideoViews:
        """The total of a video."""
        return await self.total(*video_and_kind(question))

    async def total(self, video_id: str, kind: str) -> answers.VideoViews:
        """The total of a video, for who asks once and for who listens."""
        now = self._asked.now()
        total = await self._asked.store.totals(
            video_id, (kind, blocked(kind)), await self._asked.knowledge.get(), now=now
        )
        views, not_counted = total.views
        imported, _ = total.imported
        return answers.VideoViews(
            video_id=video_id,
            kind=kind,
            views=views + imported,
            imported=imported,
            blocked=not_counted,
            late_added=total.late_added[0],
            **of_arrivals(self._asked.arrivals_of(total.known)),
            **of_history(total.known.history, [(ALWAYS, now)]),
        )

    async def series(self, question: Question) -> answers.Series:
        """The views of a video over time."""
        video_id, kind = video_and_kind(question)
        now, store = self._asked.now(), self._asked.store
        asked = read_video_series(question.query_params, now=now, points_max=self._asked.points_max)
        question.span = asked.span
        arrivals, history = await self._asked.complete()
        before = store.minutes_cut(now) if asked.is_of_minutes else None
        closed = arrivals.closed(arrivals.complete, history.missing([asked.span], before=before))
        files = 0
        with contextlib.suppress(ConnectionError):
            # If history is away, whoever reads it says so.
            files = await store.files(video_id, asked, history, now=now)
        count = asked.count if isinstance(asked, Points) else asked.points
        await question.pay(partitions=_partitions(asked), files=files, points=count)
        points, imported, unknown = await read_points(store, video_id, kind, asked, history, closed, now=now)
        return answers.Series(
            points,
            imported,
            degraded=of_unknown(unknown),
            **of_arrivals(arrivals, asked.span),
            **of_history(history, [asked.span], before=before),
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


def video_and_kind(question: Question) -> tuple[str, str]:
    """The video and the kind that a question is about."""
    video_id = check_name("video_id", question.path_params["video_id"], VIDEO_ID_BYTES_MAX)
    return video_id, read_kind(question.query_params)


def _partitions(asked: Series | Points) -> int:
    """About how many partitions the points are in: one for each day of minutes, and for each month of hours."""
    start, end = asked.span
    return 1 + (end - start).days // (1 if asked.is_of_minutes else 30)
