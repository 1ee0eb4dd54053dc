"""Answers questions about one channel."""

from schemas.limits import ABOUT_BYTES_MAX
from services.query.api.answers import channels as answers
from services.query.api.endpoints.asked import Asked, of_arrivals, of_history
from services.query.api.parameters.names import check_name, read_kind
from services.query.api.parameters.series import read_channel_series
from services.query.api.question import Question
from services.query.api.texts import utc_text


class Channels:
    """The operations of services.query.api.operations.channels.

    They raise ParameterError, TooManyFilesError, StoreAwayError and HistoryAwayError.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def series(self, question: Question) -> answers.ChannelSeries:
        """The views of a channel by the hour."""
        channel_id = check_name("channel_id", question.path_params["channel_id"], ABOUT_BYTES_MAX)
        kind = read_kind(question.query_params)
        now = self._asked.now()
        series = read_channel_series(question.query_params, now=now, points_max=self._asked.points_max)
        span = series.start, series.end
        question.span = span
        await question.pay(partitions=1 + (span[1] - span[0]).days // 30, points=series.points)
        arrivals, history = await self._asked.complete()
        found = await self._asked.store.channel_hours(channel_id, kind, series, history, now=now)
        closed = arrivals.closed(history.through, history.missing([span]))
        return answers.ChannelSeries(
            [
                answers.ChannelPoint(
                    utc_text(start), views, views is not None and closed.has(start, start + series.step)
                )
                for start, views in found
            ],
            **of_arrivals(arrivals, span, complete=history.through),
            **of_history(history, [span]),
        )
