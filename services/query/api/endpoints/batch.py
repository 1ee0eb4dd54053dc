"""Answers questions about many videos at once."""

from collections.abc import Iterable, Sequence

from schemas.kinds import blocked
from services.query.api.allowed import check_all, check_channels
from services.query.api.answers import batch as answers
from services.query.api.endpoints.asked import Asked, of_arrivals, of_history
from services.query.api.parameters.batch import read_batch
from services.query.api.question import Question
from services.query.counts.completeness import ALWAYS
from services.query.counts.totals import Total
from services.query.titles.following import Following


class Batch:
    """The operations of services.query.api.operations.batch.

    They raise RefusedError, ParameterError, StoreAwayError and HistoryAwayError.
    """

    def __init__(self, asked: Asked, following: Following | None) -> None:
        self._asked = asked
        self._following = following

    async def views(self, question: Question) -> answers.BatchViews:
        """The totals of many videos."""
        wanted = read_batch(question.body)
        videos, kinds = wanted.video_ids, wanted.kinds
        check_all(question.caller, videos, kinds)
        check_channels(question.caller, self._following, video_ids=videos)
        # Each of many is read together with others.
        await question.pay(partitions=len(videos) * len(kinds) // 10)
        now = self._asked.now()
        all_kinds = tuple(dict.fromkeys([*kinds, *map(blocked, kinds)]))
        totals = await self._asked.store.totals_of_many(videos, all_kinds, await self._asked.knowledge.get(), now=now)
        found = [
            answers.VideoTotals(video_id, [_total(kind, all_kinds, total) for kind in kinds])
            for video_id, total in zip(videos, totals, strict=True)
        ]
        # What was known before the first of them was read holds for all.
        known = min((total.known for total in totals), key=lambda one: one.began_s)
        return answers.BatchViews(
            found,
            _sums(kinds, found) if wanted.sum else None,
            **of_arrivals(self._asked.arrivals_of(known)),
            **of_history(known.history, [(ALWAYS, now)]),
        )


def _total(kind: str, kinds: Sequence[str], total: Total) -> answers.KindViews:
    place = kinds.index(kind)
    added = total.imported[place]
    return answers.KindViews(kind, total.views[place] + added, added, total.views[kinds.index(blocked(kind))])


def _sums(kinds: Iterable[str], videos: Iterable[answers.VideoTotals]) -> list[answers.KindViews]:
    sums = {kind: [0, 0, 0] for kind in kinds}
    for video in videos:
        for one in video.kinds:
            sums[one.kind] = [
                a + b for a, b in zip(sums[one.kind], (one.views, one.imported, one.blocked), strict=True)
            ]
    return [answers.KindViews(kind, *numbers) for kind, numbers in sums.items()]
