"""Reads the ledger from Cassandra, by hours of arrival."""

from datetime import UTC, datetime

import pyarrow as pa
from cassandra.cluster import Session

from schemas.ledger import LEDGER_COLUMNS
from settings.durations import MINUTES_PER_HOUR
from udfs.logic.audit.accounts import Fates, Place

LEDGER_ROWS = pa.schema({"minute": pa.int64(), "salt": pa.int64(), **{name: pa.int64() for name in LEDGER_COLUMNS}})
_OF_MINUTES = f"SELECT minute, salt, {', '.join(LEDGER_COLUMNS)} FROM ledger WHERE minute IN ?"


class LedgerRows:
    """Reads through one session, which it does not own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._of_minutes = session.prepare(_OF_MINUTES)

    def read(self, hour: int) -> pa.Table:
        """Return the rows of an hour of arrival (in hours since 1970), of schema LEDGER_ROWS."""
        minutes = range(hour * MINUTES_PER_HOUR, (hour + 1) * MINUTES_PER_HOUR)
        times = [datetime.fromtimestamp(minute * 60, UTC) for minute in minutes]
        rows = [
            (round(at.replace(tzinfo=UTC).timestamp()) // 60, salt, *(number or 0 for number in fates))
            for at, salt, *fates in self._session.execute(self._of_minutes, (times,))
        ]
        columns = map(list, zip(*rows, strict=True)) if rows else ([] for _ in LEDGER_ROWS)
        return pa.table(dict(zip(LEDGER_ROWS.names, columns, strict=True)), schema=LEDGER_ROWS)


def rows_of(table: pa.Table) -> dict[Place, Fates]:
    """Return the fates by (minute, salt), from a table of schema LEDGER_ROWS."""
    columns = [column.to_pylist() for column in table.columns]
    return {(minute, salt): tuple(fates) for minute, salt, *fates in zip(*columns, strict=True)}
