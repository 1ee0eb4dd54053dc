"""Answers what became of events."""

from collections.abc import Mapping

from schemas.ledger import FATES, LEDGER_COLUMNS
from services.query.api.answers import ledger as answers
from services.query.api.endpoints.asked import Asked
from services.query.api.parameters.ledger import read_ledger_minutes
from services.query.api.question import Question
from services.query.api.texts import utc_text


class Ledger:
    """The operations of services.query.api.operations.ledger.

    They raise ParameterError, TooManyFilesError, StoreAwayError and HistoryAwayError.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def minutes(self, question: Question) -> answers.Ledger:
        """The ledger by minute of arrival."""
        minutes = read_ledger_minutes(question.query_params, now=self._asked.now())
        await question.pay(points=minutes.points)
        found = await self._asked.store.ledger(minutes)
        total = {name: sum(tally[name] for tally in found.values()) for name in LEDGER_COLUMNS}
        return answers.Ledger(
            [
                answers.TallyMinute(start=utc_text(start), balanced=is_balanced(tally), **tally)
                for start, tally in sorted(found.items())
            ],
            answers.Tally(balanced=is_balanced(total), **total),
        )


def is_balanced(tally: Mapping[str, int]) -> bool:
    """Whether every event received has exactly one fate."""
    return tally["received"] == sum(tally[fate] for fate in FATES)
