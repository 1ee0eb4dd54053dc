"""The register of history in Cassandra: one row, read serially and changed by lightweight transactions only.

If the answer to a transaction is lost, it is unknown whether the row has changed. So each change is repeated until
Cassandra says whether the row is as intended. That is safe: once the row has changed, the condition of the change does
not hold any more.
"""

import logging
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
import tenacity
from cassandra import ConsistencyLevel, DriverException
from cassandra.cluster import NoHostAvailable, Session
from cassandra.query import SimpleStatement

from connectors.acknowledged import connect_however_long
from settings import CassandraSettings
from udfs.logic.history.register import Applied, Register

log = logging.getLogger(__name__)
NAME = "history"
_READ = "SELECT path, made_at, lease, holder, manifest, kept, applied, renewed_at FROM history_register WHERE name = %s"
_MAKE = (
    "INSERT INTO history_register (name, path, made_at, lease, holder, renewed_at, manifest, kept, applied) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) IF NOT EXISTS"
)
_CHANGE = (
    "UPDATE history_register SET lease = %s, holder = %s, renewed_at = %s, manifest = %s, kept = %s, applied = %s "
    "WHERE name = %s IF lease = %s AND holder = %s AND manifest = %s"
)
_RENEW = "UPDATE history_register SET renewed_at = %s WHERE name = %s IF lease = %s AND holder = %s"
_again = tenacity.retry(
    retry=tenacity.retry_if_exception_type((NoHostAvailable, DriverException)),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
    stop=tenacity.stop_after_delay(120),
    before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
    reraise=True,
)


class Registers(Protocol):
    """Keeps a register, in Cassandra or in a test's memory."""

    def read(self) -> Register | None:
        """Return the row as it is now, or None if there is none."""

    def swap(self, old: Register | None, new: Register) -> bool:
        """Change the row to `new` if its token, holder and manifest are those of `old`. None stands for no row.

        Return whether the row is `new` now. Only the first change, from None, sets path and made_ms.
        """

    def renew(self, register: Register) -> bool:
        """Say that the holder is alive. Return whether it still holds the lease."""

    def pulse(self) -> object:
        """Return a value that changes whenever a holder says that it is alive."""


class CassandraRegisters:
    """The register in the keyspace of a session, which it does not own. Raises the driver's errors."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @_again
    def read(self) -> Register | None:
        """See Registers."""
        row = self._row()
        return None if row is None else register_of(row, applied_of_text(row.applied))

    @_again
    def swap(self, old: Register | None, new: Register) -> bool:
        """See Registers."""
        now = datetime.now(UTC)
        applied = None if new.applied is None else msgspec.json.encode(new.applied).decode()
        if old is None:
            made = datetime.fromtimestamp(new.made_ms / 1000, UTC)
            values: tuple[object, ...] = (
                NAME, new.path, made, new.token, new.holder, now, new.manifest, list(new.kept), applied,
            )  # fmt: skip
            if self._change(_MAKE, values):
                return True
        else:
            values = (
                new.token, new.holder, now, new.manifest, list(new.kept), applied,
                NAME, old.token, old.holder, old.manifest,
            )  # fmt: skip
            if self._change(_CHANGE, values):
                return True
        # An earlier attempt, whose answer was lost, may have changed it.
        there = self.read()
        return there is not None and (there.token, there.holder, there.manifest) == (
            new.token, new.holder, new.manifest,
        )  # fmt: skip

    def renew(self, register: Register) -> bool:
        """See Registers."""
        return self._change(_RENEW, (datetime.now(UTC), NAME, register.token, register.holder))

    @_again
    def pulse(self) -> object:
        """See Registers."""
        row = self._row()
        return None if row is None else (row.lease, row.holder, row.renewed_at)

    def _row(self) -> Any:
        statement = SimpleStatement(_READ, consistency_level=ConsistencyLevel.SERIAL)
        return self._session.execute(statement, (NAME,)).one()

    def _change(self, text: str, values: tuple[object, ...]) -> bool:
        statement = SimpleStatement(text, serial_consistency_level=ConsistencyLevel.SERIAL)
        return bool(self._session.execute(statement, values).was_applied)


def registers(settings: CassandraSettings) -> CassandraRegisters:
    """Connect and return the register. It waits as long as Cassandra is away."""
    return CassandraRegisters(connect_however_long(settings))


def has_totals(session: Session) -> bool:
    """Return whether the keyspace has any totals."""
    return session.execute("SELECT video_id FROM view_totals LIMIT 1").one() is not None


def applied_of_text(text: str | None) -> Applied | None:
    """Decode the column `applied`."""
    return None if text is None else msgspec.json.decode(text, type=Applied)


def register_of(row: Any, applied: Applied | None) -> Register:
    """Make the register from its row and the decoded `applied`."""
    return Register(
        path=row.path,
        made_ms=int(row.made_at.replace(tzinfo=UTC).timestamp() * 1000),
        token=row.lease,
        holder=row.holder or "",
        manifest=row.manifest or "",
        kept=tuple(row.kept or ()),
        applied=applied,
    )
