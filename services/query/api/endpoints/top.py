"""Answers with lists of videos."""

from datetime import timedelta

from msgspec import UNSET

from services.parameters import ParameterError
from services.query.api.answers import top as answers
from services.query.api.endpoints.asked import Asked, of_arrivals, of_history
from services.query.api.parameters.top import TOP_MAX, cursor_text, read_top
from services.query.api.question import Question
from services.query.api.texts import time_text
from services.query.counts.completeness import FOR_EVER
from services.query.counts.spans import Span
from services.query.counts.top import ClosedTopQuestion, TopQuestion, TopVideo

# The newest lists of the stream are made of two hours.
REACH_OF_LISTS = timedelta(hours=3)


class Top:
    """The operations of services.query.api.operations.top.

    They raise ParameterError, TooManyFilesError, StoreAwayError and HistoryAwayError.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def list(self, question: Question) -> answers.TopVideos | answers.ClosedTopVideos:
        """A list of top videos."""
        wanted = read_top(question.query_params)
        if isinstance(wanted, ClosedTopQuestion):
            await question.pay(files=0 if wanted.channel is None else 1)
            return await self._closed(wanted)
        return await self.of_stream(wanted)

    async def of_stream(self, wanted: TopQuestion) -> answers.TopVideos:
        """A list that the stream has made, for who asks once and for who listens."""
        now = self._asked.now()
        arrivals = await self._asked.arrivals()
        found = await self._asked.store.top(wanted, now=now)
        return answers.TopVideos(
            kind=wanted.kind,
            span=wanted.span,
            minute=time_text(found.minute),
            videos=[_ranked(video, is_compared=wanted.span == "trending") for video in found.videos],
            exact=not found.left_out,
            not_exact_because=_left_out(wanted.kind, found.left_out) if found.left_out else None,
            **of_arrivals(arrivals, (now - REACH_OF_LISTS, FOR_EVER)),
        )

    async def _closed(self, question: ClosedTopQuestion) -> answers.ClosedTopVideos:
        arrivals, history = await self._asked.complete()
        if question.revision not in (None, history.revision):
            raise ParameterError(
                "cursor", str(question.revision), "is of a list that was replaced since: begin again without it"
            )
        read = self._asked.store.closed_top if question.channel is None else self._asked.store.channel_top
        found = await read(question, history, now=self._asked.now())
        of_list: list[Span] = [] if found is None else [(found.start, found.complete_through)]
        through = found and found.complete_through
        places = [] if found is None else found.videos
        end = question.skip + question.limit
        videos = [answers.CountedVideo(one.video_id, one.views) for one in places[question.skip : end]]
        return answers.ClosedTopVideos(
            kind=question.kind,
            span=question.span,
            country=question.country,
            channel=question.channel,
            start=time_text(found and found.start),
            videos=videos,
            next=None if found is None or end >= len(places) else cursor_text(end, found.start, history.revision),
            full=len(places) >= TOP_MAX,
            **of_arrivals(arrivals, of_list[0] if of_list else None, complete=through),
            **of_history(history, of_list),
        )


def _ranked(video: TopVideo, *, is_compared: bool) -> answers.RankedVideo:
    about = video.about
    return answers.RankedVideo(
        video_id=video.video_id,
        views=video.views,
        before=video.before if is_compared else UNSET,
        title=about and about.title,
        channel_id=about and about.channel_id,
        channel_name=about and about.channel_name,
        created_at=about and time_text(about.created_at),
    )


def _left_out(kind: str, shards: int) -> str:
    return (
        f"{shards} shards had more kinds than they rank and left this one out, so videos may be missing; to rank it "
        f"always, name {kind} in VIEW_COUNTS_COUNTING_RANKED_KINDS"
    )
