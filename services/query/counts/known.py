"""What all answers share: how far stream and history are complete. Pure.

An answer may use what was read before, as long as that was read before the answer's numbers. So `complete_through`,
the time through which arrivals are in, and the listing of overflow only ever say less than what is true when the answer
is given. The register's state of history is as good as a newer one: rows of the rollup say themselves how far they
reach, and minutes are kept for a day more than they are asked for.
"""

import functools
from dataclasses import dataclass
from datetime import datetime

from services.query.counts.completeness import HistoryState, Lost, history_state
from udfs.logic.history.register import Register
from udfs.logic.overflow.waiting import Listing


@dataclass(frozen=True)
class Known:
    """All of it, as it was read at one time: the listing of overflow first, and then the rest.

    `began_s` is when reading began, by the monotonic clock. `listing` is None if overflow is not watched, or has not
    been listed. `complete` is the end of the last minute that the stream has closed. `register` is None if there is
    none.
    """

    began_s: float
    listing: Listing | None
    complete: datetime | None
    register: Register | None
    lost: tuple[Lost, ...]

    @functools.cached_property
    def history(self) -> HistoryState:
        """Which state of history the tables hold. Raises HistoryAwayError when the register does not say."""
        return history_state(self.register, self.lost)
