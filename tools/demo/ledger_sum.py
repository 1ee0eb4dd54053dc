"""Keeps the sum of the ledger's rows, and says which rows can still change and must be read again. Pure."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from schemas.ledger import FATES

MINUTE_MS = 60_000
# The columns of the ledger that the demo reads: events by fate, and the Kafka records they came in, with heartbeats.
COLUMNS = ("received", *FATES, "records")


class LedgerRow(NamedTuple):
    """A row of the ledger: the numbers of one salt in one minute of arrival, by column. They only grow."""

    minute_ms: int
    salt: int
    numbers: Counter[str]


class LedgerSum:
    """The sum of all rows that were read. If a row is read again, the new one replaces the old one."""

    def __init__(self) -> None:
        self._settled = Counter[str]()
        self._open: dict[tuple[int, int], LedgerRow] = {}

    def take(self, rows: Iterable[LedgerRow]) -> None:
        """Add rows in any order: first all rows of the table, later those from the minute `open_from_ms` on."""
        for row in rows:
            self._open[row.minute_ms, row.salt] = row
        open_from_ms = self.open_from_ms
        if open_from_ms is None:
            return
        for key in [key for key in self._open if key[0] < open_from_ms]:
            self._settled.update(self._open.pop(key).numbers)

    @property
    def open_from_ms(self) -> int | None:
        """The first minute whose rows may still change or appear, in ms since 1970; None before the first row.

        The append time of a salt never steps back, so only its latest minute can change. One minute more is kept open
        for a write that is late. A salt below zero stands for records without a salt, which are in no order.
        """
        latest: dict[int, int] = {}
        for minute_ms, salt in self._open:
            if salt >= 0:
                latest[salt] = max(minute_ms, latest.get(salt, minute_ms))
        return min(latest.values()) - MINUTE_MS if latest else None

    def totals(self) -> Counter[str]:
        """The sums of all rows, by column."""
        sums = self._settled.copy()
        for row in self._open.values():
            sums.update(row.numbers)
        return sums
