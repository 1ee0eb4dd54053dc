"""Keeps the last good answer to a question for the time when a store does not answer. Knows no HTTP and no clock.

Such an answer was right when it was given, and says when that was. It is kept as JSON, whose size is known.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from services.query.cache.held import Held

# What is asked for often is not encoded anew each time. So an answer may be older by this than it had to be.
KEPT_ANEW = timedelta(seconds=5)
# What an entry costs beside its texts: measured with a million of them.
ENTRY_BYTES = 400
ENCODER = msgspec.json.Encoder()


class Kept(NamedTuple):
    """An answer, and when it was given."""

    answer: Any
    at: datetime


class _Entry(NamedTuple):
    at: datetime
    shape: type[Any]
    text: bytes


class LastKnown:
    """Holds answers by question: as many as fit in `bytes_max`, the last used ones, and none older than `age_max`."""

    def __init__(self, bytes_max: int, age_max: timedelta) -> None:
        self._age_max = age_max
        self._held: Held[str, _Entry] = Held(bytes_max, lambda key, one: len(key) + len(one.text) + ENTRY_BYTES)

    def keep(self, question: str, answer: msgspec.Struct, at: datetime) -> None:
        """Keep an answer that was given at this time, unless there is one that is hardly older."""
        before = self._held.get(question)
        if before is None or at - before.at >= KEPT_ANEW:
            self._held.put(question, _Entry(at, type(answer), ENCODER.encode(answer)))

    def find(self, question: str, now: datetime) -> Kept | None:
        """The last answer to this question, if there is one."""
        found = self._held.get(question)
        if found is None or now - found.at > self._age_max:
            return None
        return Kept(msgspec.json.decode(found.text, type=found.shape), found.at)
