"""Answers questions about many videos at once."""

import asyncio
from collections.abc import Iterable, Mapping

from schemas.kinds import blocked
from services.query.api.allowed import check_all
from services.query.api.answers import batch as answers
from services.query.api.endpoints.asked import Asked, of_arrivals, of_history
from services.query.api.parameters.batch import read_batch
from services.query.api.question import Question
from services.query.counts.batch import Name
from services.query.counts.completeness import ALWAYS


class Batch:
    """The operations of services.query.api.operations.batch.

    They raise RefusedError, ParameterError, StoreAwayError and HistoryAwayError.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def views(self, question: Question) -> answers.BatchViews:
        """The totals of many videos."""
        wanted = read_batch(question.body)
        videos, kinds = wanted.video_ids, wanted.kinds
        check_all(question.caller, videos, kinds)
        now = self._asked.now()
        arrivals, history = await self._asked.complete()
        store = self._asked.store
        views, imported = await asyncio.gather(
            store.totals_of_many(videos, list(dict.fromkeys([*kinds, *map(blocked, kinds)])), history, now=now),
            store.imported_of_many(videos, kinds, history),
        )
        found = [
            answers.VideoTotals(video_id, [_total(video_id, kind, views, imported) for kind in kinds])
            for video_id in videos
        ]
        return answers.BatchViews(
            found,
            _sums(kinds, found) if wanted.sum else None,
            **of_arrivals(arrivals),
            **of_history(history, [(ALWAYS, now)]),
        )


def _total(video_id: str, kind: str, views: Mapping[Name, int], imported: Mapping[Name, int]) -> answers.KindViews:
    added = imported.get((video_id, kind), 0)
    return answers.KindViews(kind, views[video_id, kind] + added, added, views[video_id, blocked(kind)])


def _sums(kinds: Iterable[str], videos: Iterable[answers.VideoTotals]) -> list[answers.KindViews]:
    sums = {kind: [0, 0, 0] for kind in kinds}
    for video in videos:
        for one in video.kinds:
            sums[one.kind] = [
                a + b for a, b in zip(sums[one.kind], (one.views, one.imported, one.blocked), strict=True)
            ]
    return [answers.KindViews(kind, *numbers) for kind, numbers in sums.items()]
