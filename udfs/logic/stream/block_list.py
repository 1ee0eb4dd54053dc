"""Whose views do not count, and when: by append time, so that a replay decides alike.

A period begins and ends at least a minute after it was written, and a list is read to its end before anything is
judged: whoever judges a view knows every period that can contain its append time, on the first run and on any later.
"""

from typing import Any

import fastavro

from schemas.limits import VIEWER_ID_BYTES_MAX
from udfs.logic.kernels.memory_budget import Budget
from udfs.logic.stream.block_table import BlockTable, Period, Viewers
from udfs.logic.wire.keyed_records import Keyed, Refusal, read_keyed, read_whole

PERIODS_MAX = 1000
FOR_GOOD_MS = 1 << 62
# Of BlockedViewer, with times as plain numbers.
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
    """Reads one record of the block list's topic: (viewer_id, periods). Never raises for what the bytes say."""
    found = read_keyed("BlockedViewer", key, value, VIEWER_ID_BYTES_MAX)
    if isinstance(found, Refusal) or found.rest is None:
        return found
    try:
        periods = read_periods(found.rest)
    # Whatever a decoder meets in bytes that are not what they say they are.
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
    """The periods of a value's rest. Raises as `read_whole`."""
    found: list[dict[str, Any]] = read_whole(_PERIODS, rest)
    return [
        Period(one["effective_from"], FOR_GOOD_MS if one["effective_until"] is None else one["effective_until"])
        for one in found
    ]


# Changes that are taken in at once: a list that is read from its topic is not to be held as objects first.
_CHANGES_AT_ONCE = 10_000
# So many rows that no viewer has any more are always borne.
_ROWS_SPARE = 1024


class BlockList:
    """The list of one subtask. Not thread-safe. With a budget it may come to lie in a file; see `let_go`."""

    def __init__(self, budget: Budget | None = None) -> None:
        self._changed: dict[bytes, list[Period]] = {}
        self._budget = budget
        self._viewers = Viewers(budget)

    def put(self, viewer_id: bytes, rest: bytes | None) -> None:
        """From now on these are the periods of a viewer, as `read_blocked` gives them; None: there are none."""
        self._changed[viewer_id] = [] if rest is None else read_periods(rest)
        if len(self._changed) >= _CHANGES_AT_ONCE:
            self._take_changes()

    def __len__(self) -> int:
        self._take_changes()
        return self._viewers.blocked

    @property
    def table(self) -> BlockTable:
        """The list as it is now. A change costs some microseconds, however many viewers there are."""
        self._take_changes()
        return self._viewers.table()

    def let_go(self) -> None:
        """Hold no pages of a file. To be called after each use of the table."""
        self._viewers.let_go()

    def _take_changes(self) -> None:
        if not self._changed:
            return
        self._viewers.put(self._changed)
        self._changed = {}
        # Made anew when most of it is of no use any more: after as many changes as it has periods.
        if self._viewers.rows > 2 * self._viewers.rows_in_use + _ROWS_SPARE:
            self._viewers = self._viewers.anew()
