"""Answers who viewed a video, and from where."""

from collections.abc import Sequence

from services.query.api.answers import audience as answers
from services.query.api.endpoints.asked import Asked, OfArrivals, OfHistory, of_arrivals, of_history
from services.query.api.endpoints.videos import video_and_kind
from services.query.api.parameters.audience import BREAKDOWNS, read_breakdown, read_days
from services.query.api.question import Question
from services.query.counts import audience
from services.query.counts.arrivals import Arrivals
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
        is_any_counted = any(_is_begun(day, history) and day not in found.not_counted for day in _numbers(days))
        return answers.Breakdown(
            video_id=video_id,
            kind=kind,
            by=by,
            first=days.start.date().isoformat(),
            end=days.end.date().isoformat(),
            views=sum(part.views for part in parts) if is_any_counted else None,
            parts=parts,
            not_counted=_dates(found.not_counted),
            **_of_days(days, arrivals, history, found.not_counted),
        )

    async def viewers(self, question: Question) -> answers.Viewers:
        """The viewers of a video."""
        video_id, kind = video_and_kind(question)
        days, arrivals, history = await self._asked_days(question)
        numbers = _numbers(days)
        found = await self._asked.store.by_day("viewers", video_id, kind, numbers, ["viewers", "sketch"], history)
        counted = audience.viewers(found)
        # A day that is not over has no viewers yet.
        not_counted = [day for day in found.not_counted if _is_whole(day, history)]
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
            not_counted=_dates(not_counted),
            **_of_days(days, arrivals, history, not_counted),
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


def _of_days(days: Series, arrivals: Arrivals, history: HistoryState, not_counted: Sequence[int]) -> _OfDays:
    through = min(days.end, history.end)
    counted: list[Span] = [(days.start, through)] if through > days.start else []
    # Behind a day that is not counted are others that are, but nothing is complete through them.
    complete = min([through, *(hour_start(day * HOURS_PER_DAY) for day in not_counted)])
    span = days.start, days.end
    return {
        **of_arrivals(arrivals, span, complete=complete if complete > days.start else None),
        **of_history(history, counted),
    }


def _is_begun(day: int, history: HistoryState) -> bool:
    return hour_start(day * HOURS_PER_DAY) < history.end


def _is_whole(day: int, history: HistoryState) -> bool:
    return hour_start((day + 1) * HOURS_PER_DAY) <= history.end


def _numbers(days: Series) -> range:
    return range(day_number(days.start.date()), day_number(days.end.date()))


def _dates(days: Sequence[int]) -> list[str]:
    return [date_of(day).isoformat() for day in days]
