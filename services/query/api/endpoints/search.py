"""Answers which videos a text is the beginning of."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from services.query.api.answers import search as answers
from services.query.api.parameters.search import read_search
from services.query.api.question import Question
from services.query.api.texts import utc_text
from services.query.titles.following import Following
from services.query.titles.index import Video
from services.refused import RETRY_AFTER_S, RefusedError

# Of searches that wait for their turn.
WAITING_MAX = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Search:
    """The operations of services.query.api.operations.search. They raise ParameterError and RefusedError.

    `following` is None where nobody may search.
    """

    def __init__(self, following: Following | None) -> None:
        self._following = following
        # The index answers one question at a time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._waiting = 0

    async def find(self, question: Question) -> answers.Search:
        """Videos by the beginning of their id or title."""
        text, limit = read_search(question.query_params)
        following = self._following
        if following is None:
            raise _away("search is off: set VIEW_COUNTS_QUERY_SEARCH_BYTES_MAX")
        index, progress = following.index, following.progress
        if progress.lacks is not None and not index.videos:
            raise _away(progress.lacks)
        if self._waiting >= WAITING_MAX:
            raise _away(f"{WAITING_MAX} searches wait already")
        self._waiting += 1
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, index.find, text, limit)
        finally:
            self._waiting -= 1
        return answers.Search(
            [_video(video) for video in found],
            answers.SearchIndex(
                progress.lacks is None,
                progress.lacks,
                None if progress.at_s is None else utc_text(datetime.fromtimestamp(progress.at_s, UTC)),
                index.videos,
            ),
        )


def _video(video: Video) -> answers.FoundVideo:
    # Years before 1000 have a form of their own there, and any year from 1 on may be.
    created = _EPOCH + timedelta(milliseconds=video.created_ms)
    at = f"{created.year:04}-{created:%m-%dT%H:%M:%SZ}"
    return answers.FoundVideo(video.video_id, video.title, video.channel_id, video.channel_name, at)


def _away(error: str) -> RefusedError:
    return RefusedError(503, error, retry_after_s=RETRY_AFTER_S)
