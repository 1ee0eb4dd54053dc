"""The block list: whose views do not count, and in which periods of append time.

A period begins and ends at least a minute after it was written, and the list is read to its end before any event is
judged. So every period that can contain an event's append time is known when the event is judged, and a replay decides
the same.
"""

from typing import Any

import fastavro

from schemas.limits import VIEWER_ID_BYTES_MAX
from udfs.logic.kernels.memory_budget import Budget
from udfs.logic.stream.block_table import BlockTable, Period, Viewers
from udfs.logic.wire.keyed_records import Keyed, Refusal, read_keyed, read_whole

PERIODS_MAX = 1000
FOR_GOOD_MS = 1 << 62
# The periods of BlockedViewer, with times as plain numbers.
_PERIODS = fastavro.parse_schema(
    {
        "type": "array",
        "items": {
            "type": "record",
            "name": "PeriodInMilliseconds",
            "fields": [
                {"name": "effective_from", "type": "long"},
                {"name": "effective_until", "type": ["null", "long"]},
            ],
        },
    }
)


def read_blocked(key: bytes | None, value: bytes | None) -> Keyed | Refusal:
    """Read one record of the block list's topic: (viewer_id, periods). No content makes it raise."""
    found = read_keyed("BlockedViewer", key, value, VIEWER_ID_BYTES_MAX)
    if isinstance(found, Refusal) or found.rest is None:
        return found
    try:
        periods = read_periods(found.rest)
    # A decoder may raise anything for bytes that are not of its schema.
    except Exception:
        return Refusal.UNREADABLE
    if len(periods) > PERIODS_MAX:
        return Refusal.TOO_LONG
    if any(not 0 <= period.from_ms < FOR_GOOD_MS for period in periods):
        return Refusal.TIME_OUT_OF_RANGE
    if any(period.until_ms < period.from_ms for period in periods):
        return Refusal.PERIOD_ENDS_BEFORE_IT_BEGINS
    return found


def read_periods(rest: bytes) -> list[Period]:
    """Decode the periods, the rest of a value. Raises what `read_whole` raises."""
    found: list[dict[str, Any]] = read_whole(_PERIODS, rest)
    return [
        Period(one["effective_from"], FOR_GOOD_MS if one["effective_until"] is None else one["effective_until"])
        for one in found
    ]


# So many changes are collected before they go into the table. Without a limit, a list that is read from its topic would
# first be held as objects.
_CHANGES_AT_ONCE = 10_000
# So many unused rows are always tolerated.
_ROWS_SPARE = 1024


class BlockList:
    """The block list of one subtask. Not thread-safe. With a budget it may be moved to a file; see `let_go`."""

    def __init__(self, budget: Budget | None = None) -> None:
        self._changed: dict[bytes, list[Period]] = {}
        self._budget = budget
        self._viewers = Viewers(budget)

    def put(self, viewer_id: bytes, rest: bytes | None) -> None:
        """Set the periods of a viewer, as `read_blocked` returns them; None removes them."""
        self._changed[viewer_id] = [] if rest is None else read_periods(rest)
        if len(self._changed) >= _CHANGES_AT_ONCE:
            self._take_changes()

    def __len__(self) -> int:
        self._take_changes()
        return self._viewers.blocked

    @property
    def table(self) -> BlockTable:
        """The list as it is now. A change takes some microseconds, however many viewers there are."""
        self._take_changes()
        return self._viewers.table()

    def let_go(self) -> None:
        """Release the pages of the file, if the list is in one. Call it after each use of the table."""
        self._viewers.let_go()

    def _take_changes(self) -> None:
        if not self._changed:
            return
        self._viewers.put(self._changed)
        self._changed = {}
        # The table is made again when most of its rows are unused, that is, after as many changes as it has periods.
        if self._viewers.rows > 2 * self._viewers.rows_in_use + _ROWS_SPARE:
            self._viewers = self._viewers.anew()
