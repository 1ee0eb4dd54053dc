"""Notes the last bodies of each caller that were refused as a whole, in the memory of this process.

They have a bound of their own: a client that goes on after a 429 must push out none of the events that were taken.
Knows no HTTP and no Redis.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import count

from services.access.caller import Caller
from services.ingest.recent.answers import BODIES_MAX, RefusedBody
from services.ingest.recent.notes import Of
from services.refused import RefusedError

# Those of callers that were not heard of for the longest time are forgotten.
CALLERS_MAX = 500
ERROR_LENGTH_MAX = 300
# Such refusals follow each other by the thousand, each with another number in its text.
_TRANSIENT = frozenset({429, 503})


@dataclass(slots=True)
class _Kept:
    bodies: deque[RefusedBody] = field(default_factory=lambda: deque(maxlen=BODIES_MAX))
    # The numbers of the last body that changes no more, and of the last one that is shared.
    sealed: int = -1
    shared: int = -1


class Refusals:
    """The last BODIES_MAX refused bodies of each caller, at less than 1 KB each."""

    def __init__(self, process: str) -> None:
        # Callers with bodies that are not shared.
        self.waiting: dict[Of, None] = {}
        self._process = process
        self._numbers = count()
        self._kept: OrderedDict[Of, _Kept] = OrderedDict()

    def note(self, caller: Caller, at_ms: int, refused: RefusedError, sent_bytes: int | None) -> None:
        """Note a body. If it is refused as the one before it was, that one has happened once more."""
        of = (caller.project, caller.key)
        kept = self._kept.setdefault(of, _Kept())
        self._kept.move_to_end(of)
        if len(self._kept) > CALLERS_MAX:
            first, _ = self._kept.popitem(last=False)
            self.waiting.pop(first, None)
        self.waiting[of] = None
        error = refused.error[:ERROR_LENGTH_MAX]
        last = kept.bodies[-1] if kept.bodies else None
        if last is not None and last.number > kept.sealed and _is_same(last, refused.status, error):
            last.at, last.error, last.bytes, last.times = at_ms, error, sent_bytes, last.times + 1
            return
        number = next(self._numbers)
        kept.bodies.append(RefusedBody(at_ms, self._process, number, refused.status, error, sent_bytes, 1))

    def of(self, of: Of) -> list[RefusedBody]:
        """The refused bodies of a caller, the newest first."""
        kept = self._kept.get(of)
        return [] if kept is None else list(reversed(kept.bodies))

    def to_share(self, of: Of) -> list[RefusedBody]:
        """Those of a caller that are not shared, the oldest first. From now on they change no more."""
        kept = self._kept.get(of)
        if kept is None or not kept.bodies:
            return []
        kept.sealed = kept.bodies[-1].number
        return [body for body in kept.bodies if body.number > kept.shared]

    def is_shared(self, of: Of, number: int) -> None:
        """Note that bodies up to this number are shared."""
        kept = self._kept.get(of)
        if kept is not None:
            kept.shared = max(kept.shared, number)
        if kept is None or not kept.bodies or kept.bodies[-1].number <= kept.shared:
            self.waiting.pop(of, None)


def _is_same(last: RefusedBody, status: int, error: str) -> bool:
    return last.status == status and (status in _TRANSIENT or last.error == error)
