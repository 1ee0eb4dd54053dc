"""Answers with what was known last while nothing newer can be read, and says so. Knows no HTTP."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

import msgspec
from msgspec import UNSET

from services.query.api.answers.about import Degraded, FromStores
from services.query.api.question import Question
from services.query.api.texts import utc_text
from services.query.counts.completeness import HistoryAwayError
from services.query.counts.last_known import LastKnown
from services.query.counts.session import StoreAwayError

A = TypeVar("A")
AGE_FIELD = "View-Counts-Age"
# For answers in CSV, whose rows have no place for it.
DEGRADED_FIELD = "View-Counts-Degraded"


class LastAnswers:
    """Keeps good answers, and gives the last one to the same question. `now` is the clock, in UTC."""

    def __init__(self, known: LastKnown, now: Callable[[], datetime]) -> None:
        self._known = known
        self._now = now

    async def answer(
        self, path: str, question: Question, ask: Callable[[Question], Awaitable[A]]
    ) -> tuple[A, dict[str, str]]:
        """What `ask` answers, or the last answer if a store does not answer; and header fields that say how old it is.

        Raises StoreAwayError or HistoryAwayError if nothing is known.
        """
        began = self._now()
        try:
            found = await ask(question)
        except (StoreAwayError, HistoryAwayError) as error:
            now = self._now()
            last = self._known.find(_key(path, question), now)
            if last is None:
                raise
            old = msgspec.structs.replace(
                last.answer, degraded=[Degraded("answer", str(error))], as_of=utc_text(last.at)
            )
            age_s = max(0, int((now - last.at).total_seconds()))
            return old, {AGE_FIELD: str(age_s), DEGRADED_FIELD: "answer"}
        if not isinstance(found, FromStores):
            return found, {}
        # What lacks something is no good answer for later.
        if found.degraded is not UNSET:
            return found, {DEGRADED_FIELD: ", ".join(sorted({one.what for one in found.degraded}))}
        self._known.keep(_key(path, question), found, began)
        return found, {}


def _key(path: str, question: Question) -> str:
    """What makes two questions the same: also who asks, if not everybody may ask for everything."""
    query = [(name, *question.query_params.all(name)) for name in sorted(question.query_params)]
    is_free = question.caller.names_all and question.caller.channels is None
    caller = "" if is_free else str(question.caller.key)
    body = hashlib.sha256(question.body).hexdigest() if question.body else ""
    return repr((path, sorted(question.path_params.items()), query, caller, body))
