"""Answers questions about one channel."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from schemas.limits import ABOUT_BYTES_MAX
from services.query.api.answers import channels as answers
from services.query.api.endpoints.asked import Asked, of_arrivals, of_history
from services.query.api.parameters.names import check_name, read_kind
from services.query.api.parameters.series import STEPS, read_channel_series
from services.query.api.question import Question
from services.query.api.texts import utc_text
from services.query.counts.completeness import ALWAYS
from services.query.counts.series import Series


class Channels:
    """The operations of services.query.api.operations.channels.

    They raise ParameterError, TooManyFilesError, StoreAwayError and HistoryAwayError.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def series(self, question: Question) -> answers.ChannelSeries:
        """The views of a channel by the hour or day."""
        channel_id, kind = _channel_and_kind(question)
        now = self._asked.now()
        series = read_channel_series(question.query_params, now=now, points_max=self._asked.points_max)
        span = series.start, series.end
        question.span = span
        # Each day that no table has any more is a file of its own.
        old = min(span[1], self._asked.store.hours_cut(now)) - span[0]
        hours_asked = (span[1] - span[0]) // STEPS["hour"]
        await question.pay(partitions=1 + hours_asked // 720, files=max(0, old.days + 1), points=hours_asked)
        arrivals, history = await self._asked.complete()
        hours = Series(STEPS["hour"], *span)
        found = await self._asked.store.channel_hours(channel_id, kind, hours, history, now=now)
        closed = arrivals.closed(history.through, history.missing([span]))
        return answers.ChannelSeries(
            [
                answers.ChannelPoint(utc_text(start), views, is_whole and closed.has(start, start + series.step))
                for start, views, is_whole in _points(series, found)
            ],
            **of_arrivals(arrivals, span, complete=history.through),
            **of_history(history, [span]),
        )

    async def views(self, question: Question) -> answers.ChannelViews:
        """The total of a channel."""
        channel_id, kind = _channel_and_kind(question)
        await question.pay(files=1)
        arrivals, history = await self._asked.complete()
        total = await self._asked.store.channel_total(channel_id, kind, history)
        return answers.ChannelViews(
            channel_id=channel_id,
            kind=kind,
            views=total and total[0],
            late_added=total and total[1],
            **of_arrivals(arrivals, (ALWAYS, self._asked.now()), complete=history.through),
            **of_history(history, [(ALWAYS, history.end)]),
        )


def _channel_and_kind(question: Question) -> tuple[str, str]:
    channel_id = check_name("channel_id", question.path_params["channel_id"], ABOUT_BYTES_MAX)
    return channel_id, read_kind(question.query_params)


def _points(
    series: Series, hours: Sequence[tuple[datetime, int | None]]
) -> Iterator[tuple[datetime, int | None, bool]]:
    """(start, views, whether every hour has a number) of each point of a series, from its hours."""
    length = series.step // STEPS["hour"]
    for at, start in enumerate(series.starts):
        known = [views for _, views in hours[at * length : (at + 1) * length] if views is not None]
        yield start, sum(known) if known else None, len(known) == length
