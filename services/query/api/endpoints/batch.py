"""Answers questions about many videos at once."""

from services.query.api.allowed import check_all, check_channels
from services.query.api.answers import batch as answers
from services.query.api.endpoints.asked import Asked, of_arrivals, of_history
from services.query.api.endpoints.kinds import find_kinds, read_totals, sums
from services.query.api.parameters.batch import check_numbers, read_batch
from services.query.api.question import Question
from services.query.counts.completeness import ALWAYS
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
        check_all(question.caller, wanted.video_ids, wanted.kinds.names)
        check_channels(question.caller, self._following, video_ids=wanted.video_ids)
        now, store = self._asked.now(), self._asked.store
        known = await self._asked.knowledge.get()
        found = await find_kinds(store, question.caller, wanted.kinds, wanted.video_ids, known.history)
        check_numbers(sum(len(kinds) for kinds in found.names.values()))
        # Each of many is read together with others.
        await question.pay(partitions=sum(len(kinds) for kinds in found.names.values()) // 10)
        totals, known = await read_totals(store, found, known, now=now)
        return answers.BatchViews(
            videos=[answers.VideoTotals(video_id, totals[video_id]) for video_id in wanted.video_ids],
            sum=sums(one for of_video in totals.values() for one in of_video) if wanted.has_sum else None,
            kinds_through=found.through,
            kinds_left_out=found.all_left_out,
            **of_arrivals(self._asked.arrivals_of(known)),
            **of_history(known.history, [(ALWAYS, now)]),
        )
