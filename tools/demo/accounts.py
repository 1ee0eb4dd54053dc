"""The ledger's rows as one running sum, with only the rows read again that can still change. Pure: no database."""

from collections.abc import Iterable
from typing import NamedTuple, Self

MINUTE_MS = 60_000


class LedgerRow(NamedTuple):
    """What became of one salt's events of one minute of arrival, so far. Absolute, and only ever growing."""

    minute_ms: int
    salt: int
    received: int
    counted: int
    duplicate: int
    late: int
    invalid: int
    dead_lettered: int
    records: int
    blocked: int = 0


class Totals(NamedTuple):
    """Sums of ledger rows: events by fate, and the Kafka records they came in (heartbeats are records too)."""

    received: int = 0
    counted: int = 0
    duplicate: int = 0
    late: int = 0
    invalid: int = 0
    dead_lettered: int = 0
    records: int = 0
    blocked: int = 0

    def plus(self, row: Iterable[int]) -> Self:
        """The sum, field by field."""
        return type(self)(*(a + b for a, b in zip(self, row, strict=True)))

    def minus(self, other: Iterable[int]) -> Self:
        """The difference, field by field."""
        return type(self)(*(a - b for a, b in zip(self, other, strict=True)))


class Accounts:
    """Keeps the sum of all rows seen; a row seen again replaces its former self."""

    def __init__(self) -> None:
        self._settled = Totals()
        self._open: dict[tuple[int, int], LedgerRow] = {}

    def take(self, rows: Iterable[LedgerRow]) -> None:
        """Take rows in, in any order: all of the table at first, then those of `open_from_ms` and later."""
        for row in rows:
            self._open[row.minute_ms, row.salt] = row
        open_from_ms = self.open_from_ms
        if open_from_ms is None:
            return
        for key in [key for key in self._open if key[0] < open_from_ms]:
            self._settled = self._settled.plus(self._open.pop(key)[2:])

    @property
    def open_from_ms(self) -> int | None:
        """The first minute whose rows may still change or appear; None before the first row.

        A salt's append time never steps back, so its minutes before its latest are final; one more is kept for
        a write that was under way. Salts below zero stand for records of no salt and have no clock.
        """
        latest: dict[int, int] = {}
        for minute_ms, salt in self._open:
            if salt >= 0:
                latest[salt] = max(minute_ms, latest.get(salt, minute_ms))
        return min(latest.values()) - MINUTE_MS if latest else None

    def totals(self) -> Totals:
        """The sum of every row."""
        sums = self._settled
        for row in self._open.values():
            sums = sums.plus(row[2:])
        return sums
