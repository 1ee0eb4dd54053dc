"""Answers who viewed a video, and from where."""

from datetime import date, datetime

from services.query.api.answers import audience as answers
from services.query.api.endpoints.asked import Asked, OfArrivals, OfHistory, of_arrivals, of_history
from services.query.api.endpoints.videos import video_and_kind
from services.query.api.parameters.audience import BREAKDOWNS, read_breakdown, read_days
from services.query.api.question import Question
from services.query.counts import audience
from services.query.counts.arrivals import Arrivals
from services.query.counts.cold import Daily
from services.query.counts.completeness import HistoryState
from services.query.counts.series import Series
from services.query.counts.spans import Span
from udfs.logic.history.manifest import HOURS_PER_DAY, date_of, day_number, hour_start


class Audience:
    """The operations of services.query.api.operations.audience.

    They raise ParameterError, TooManyFilesError, StoreAwayError and HistoryAwayError.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def breakdown(self, question: Question) -> answers.Breakdown:
        """The views of a video by country or device."""
        video_id, kind = video_and_kind(question)
        by = read_breakdown(question.query_params)
        data_set, column = BREAKDOWNS[by]
        days, arrivals, history = await self._asked_days(question)
        found = await self._asked.store.by_day(data_set, video_id, kind, _numbers(days), [column, "views"], history)
        parts = [answers.BreakdownPart(*part) for part in audience.parts(found, column)]
        through = _through(days, history)
        return answers.Breakdown(
            video_id=video_id,
            kind=kind,
            by=by,
            first=days.start.date().isoformat(),
            end=days.end.date().isoformat(),
            views=None if through is None else sum(part.views for part in parts),
            parts=parts,
            not_counted=_dates(found),
            **_of_days(days, arrivals, history, through),
        )

    async def viewers(self, question: Question) -> answers.Viewers:
        """The viewers of a video."""
        video_id, kind = video_and_kind(question)
        days, arrivals, history = await self._asked_days(question)
        numbers = _numbers(days)
        found = await self._asked.store.by_day("viewers", video_id, kind, numbers, ["viewers", "sketch"], history)
        counted = audience.viewers(found)
        # Days on which nobody viewed anything have no files.
        known = {day: 0 for day in numbers if _is_whole(day, history) and day not in found.not_counted} | {
            **counted.days
        }
        return answers.Viewers(
            video_id=video_id,
            kind=kind,
            first=days.start.date().isoformat(),
            end=days.end.date().isoformat(),
            viewers=counted.viewers if known else None,
            lower=counted.lower if known else None,
            upper=counted.upper if known else None,
            days=[answers.ViewersDay(date_of(day).isoformat(), known.get(day)) for day in numbers],
            not_counted=[day for day in _dates(found) if _is_whole(day_number(date.fromisoformat(day)), history)],
            **_of_days(days, arrivals, history, _through(days, history)),
        )

    async def _asked_days(self, question: Question) -> tuple[Series, Arrivals, HistoryState]:
        # Each day has a file of its own, so that more could not be read anyway.
        days_max = min(self._asked.points_max, self._asked.settings.query.history_files_max)
        days = read_days(question.query_params, now=self._asked.now(), points_max=days_max)
        question.span = (days.start, days.end)
        await question.pay(files=days.points)
        arrivals, history = await self._asked.complete()
        return days, arrivals, history


class _OfDays(OfArrivals, OfHistory):
    """What both answers say about themselves."""


def _of_days(days: Series, arrivals: Arrivals, history: HistoryState, through: datetime | None) -> _OfDays:
    counted: list[Span] = [] if through is None else [(days.start, through)]
    span = days.start, days.end
    return {**of_arrivals(arrivals, span, complete=through), **of_history(history, counted)}


def _through(days: Series, history: HistoryState) -> datetime | None:
    """Up to when these days are counted; None if none of them is."""
    through = min(days.end, history.end)
    return through if through > days.start else None


def _is_whole(day: int, history: HistoryState) -> bool:
    return hour_start((day + 1) * HOURS_PER_DAY) <= history.end


def _numbers(days: Series) -> range:
    return range(day_number(days.start.date()), day_number(days.end.date()))


def _dates(found: Daily) -> list[str]:
    return [date_of(day).isoformat() for day in found.not_counted]
