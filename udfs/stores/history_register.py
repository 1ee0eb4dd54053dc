"""The register of history in Cassandra: one row, read serially and changed by lightweight transactions alone.

What a transaction has done may be unknown, when its answer is lost: each change is made again until Cassandra says
whether the row is as it was to be, which is safe, since a row that was changed once is not as it was before.
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
    """Where a register is kept: Cassandra, or a test's memory."""

    def read(self) -> Register | None:
        """The row as it is now; None where there is none."""

    def swap(self, old: Register | None, new: Register) -> bool:
        """Make the row `new` if token, holder and manifest are those of `old`, or if there is no row and `old` is None.

        Whether the row is `new` now. Nothing else changes path and made_ms.
        """

    def renew(self, register: Register) -> bool:
        """Say that the holder lives; whether it still holds the lease."""

    def pulse(self) -> object:
        """What changes whenever a holder says that it lives."""


class CassandraRegisters:
    """The register of the keyspace that a session, which it does not own, is on. Raises the driver's errors."""

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
        # Perhaps an attempt before this one, whose answer was lost, has changed it.
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
    """On a session of its own, however long Cassandra is away."""
    return CassandraRegisters(connect_however_long(settings))


def has_totals(session: Session) -> bool:
    """Whether the keyspace has totals, of whatever history."""
    return session.execute("SELECT video_id FROM view_totals LIMIT 1").one() is not None


def applied_of_text(text: str | None) -> Applied | None:
    """What the column `applied` says."""
    return None if text is None else msgspec.json.decode(text, type=Applied)


def register_of(row: Any, applied: Applied | None) -> Register:
    """The register, of its row and of what `applied` of it says."""
    return Register(
        path=row.path,
        made_ms=int(row.made_at.replace(tzinfo=UTC).timestamp() * 1000),
        token=row.lease,
        holder=row.holder or "",
        manifest=row.manifest or "",
        kept=tuple(row.kept or ()),
        applied=applied,
    )
