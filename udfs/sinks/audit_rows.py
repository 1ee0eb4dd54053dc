"""Verdicts and corrections to Cassandra, and repaired minutes."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from cassandra.cluster import Session

from udfs.logic.audit import Correction, Verdict
from udfs.logic.history import hour_start
from udfs.sinks.acknowledged import prepare_however_long, write_all

CONCURRENCY = 32
_VERDICT = (
    "INSERT INTO audit_verdicts (day, hour, audited_at, compared, equal, late, late_added, wrong, biggest_difference, "
    "repaired) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_CORRECTION = (
    "INSERT INTO audit_corrections (hour, video_id, kind, minute, audited_at, reason, before, after, repaired) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# Its timestamp is the token of the audit's lease, later than any that the stream gives a closed minute: what the stream
# writes again, after a failure, does not undo it (docs/decisions/0007), and a later repair does.
_REPAIR = "INSERT INTO views_by_minute (video_id, kind, day, minute, views) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"


class AuditRows:
    """Writes through one session, which it does not own. Returns when all is written, however long that takes."""

    def __init__(self, session: Session, audited_at: datetime) -> None:
        self._session = session
        self._audited_at = audited_at
        self._verdict = prepare_however_long(session, _VERDICT)
        self._correction = prepare_however_long(session, _CORRECTION)
        self._repair = prepare_however_long(session, _REPAIR)

    def verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Write one row for each."""
        rows = []
        for one in verdicts:
            start = hour_start(one.hour)
            _, *counts = msgspec.structs.astuple(one)
            rows.append((self._verdict, (start.date(), start, self._audited_at, *counts)))
        write_all(self._session, rows, CONCURRENCY)

    def corrections(self, hour: int, corrections: Iterable[Correction], token: int | None) -> None:
        """Keep what is wrong in an hour, and then, with a lease's token, write what is right."""
        corrections, is_repair = list(corrections), token is not None
        start = hour_start(hour)
        rows: list[tuple[object, tuple[object, ...]]] = [
            (
                self._correction,
                (start, c.video_id, c.kind, _moment(c), self._audited_at, c.reason, c.before, c.after, is_repair),
            )
            for c in corrections
        ]
        write_all(self._session, rows, CONCURRENCY)
        if token is not None:
            repairs: list[tuple[object, tuple[object, ...]]] = [
                (
                    self._repair,
                    (c.video_id, c.kind, _moment(c).date(), _moment(c), c.after, token),
                )
                for c in corrections
            ]
            write_all(self._session, repairs, CONCURRENCY)


def _moment(correction: Correction) -> datetime:
    return datetime.fromtimestamp(correction.minute_ms / 1000, UTC)
