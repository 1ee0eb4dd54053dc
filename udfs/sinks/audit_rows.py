"""Writes an audit's verdicts, findings and corrections to Cassandra, and its repairs."""

import zlib
from collections.abc import Iterable
from datetime import UTC, date, datetime

import msgspec
import pyarrow as pa
from cassandra.cluster import Session

from connectors.acknowledged import prepare_however_long, write_all
from schemas.ledger import LEDGER_COLUMNS
from settings.durations import MINUTE_MS
from udfs.logic.audit.accounts import WrongAccount
from udfs.logic.audit.minutes import Correction, Verdict
from udfs.logic.audit.sums import LEDGER, Finding
from udfs.logic.history.manifest import hour_start

CONCURRENCY = 32
# An hour's corrections are in so many partitions: a million cells are 60,000 rows in each.
BUCKETS = 16
_VERDICT = (
    "INSERT INTO audit_verdicts (day, hour, audited_at, compared, equal, late, late_added, wrong, biggest_difference, "
    "repaired) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_CORRECTION = (
    "INSERT INTO audit_minute_corrections (hour, bucket, video_id, kind, minute, before, after, repaired, reason, "
    "audited_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FINDING = (
    "INSERT INTO audit_findings (day, audited_at, what, compared, wrong, repaired, places) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_NUMBER = (
    "INSERT INTO audit_finding_corrections (day, what, bucket, audited_at, at, subject, kind, before, after, "
    "late_before, late_after, repaired) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# The write timestamp of a repair is the token of the audit's lease. It is later than any that the stream uses for a
# closed minute, so what the stream writes again after a failure does not replace it (docs/decisions/0007), but a later
# repair does.
_REPAIR = "INSERT INTO views_by_minute (video_id, kind, day, minute, views) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
# The same is true for the ledger's row of a minute of append time that has ended.
_ACCOUNT = (
    f"INSERT INTO ledger (minute, salt, {', '.join(LEDGER_COLUMNS)}) "
    f"VALUES (?, ?, {', '.join('?' * len(LEDGER_COLUMNS))}) USING TIMESTAMP ?"
)
Statements = list[tuple[object, tuple[object, ...]]]


class AuditRows:
    """Writes through one session, which it does not own. A call returns when all is written, however long it takes."""

    def __init__(self, session: Session, audited_at: datetime) -> None:
        self._session = session
        self._audited_at = audited_at
        self._verdict = prepare_however_long(session, _VERDICT)
        self._correction = prepare_however_long(session, _CORRECTION)
        self._repair = prepare_however_long(session, _REPAIR)
        self._finding = prepare_however_long(session, _FINDING)
        self._number = prepare_however_long(session, _NUMBER)
        self._account = prepare_however_long(session, _ACCOUNT)

    def verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Write one row for each verdict."""
        rows = []
        for one in verdicts:
            start = hour_start(one.hour)
            _, *counts = msgspec.structs.astuple(one)
            rows.append((self._verdict, (start.date(), start, self._audited_at, *counts)))
        write_all(self._session, rows, CONCURRENCY, "audit_verdicts")

    def corrections(self, hour: int, corrections: Iterable[Correction], token: int | None) -> None:
        """Store what is wrong in an hour, and then, with the token of a lease, write the right counts."""
        corrections, is_repair = list(corrections), token is not None
        start = hour_start(hour)
        rows: Statements = [
            (
                self._correction,
                (
                    start, bucket_of(c.video_id), c.video_id, c.kind, _moment(c), c.before, c.after, is_repair,
                    c.reason, self._audited_at,
                ),
            )
            for c in corrections
        ]  # fmt: skip
        write_all(self._session, rows, CONCURRENCY, "audit_corrections")
        if token is not None:
            repairs: Statements = [
                (
                    self._repair,
                    (c.video_id, c.kind, _moment(c).date(), _moment(c), c.after, token),
                )
                for c in corrections
            ]
            write_all(self._session, repairs, CONCURRENCY, "views_by_minute")

    def findings(self, findings: Iterable[Finding]) -> None:
        """Write one row for each finding."""
        rows: Statements = []
        for one in findings:
            places = [(_time(at_ms), bucket) for at_ms, bucket in one.places]
            values = (one.what, one.compared, one.wrong, one.repaired, places)
            rows.append((self._finding, (self._day, self._audited_at, *values)))
        write_all(self._session, rows, CONCURRENCY, "audit_findings")

    def sums(self, what: str, shard: int, wrong: pa.Table, *, is_repair: bool) -> None:
        """Store what is wrong in the sums of a shard; `wrong` is of schema DIFFERENCES."""
        rows: Statements = [
            (
                self._number,
                (
                    self._day, what, shard, self._audited_at, _time(row["at"]), row["video_id"], row["kind"],
                    row["before"], row["after"], row["late_before"], row["late_after"], is_repair,
                ),
            )
            for row in wrong.to_pylist()
        ]  # fmt: skip
        write_all(self._session, rows, CONCURRENCY, "audit_finding_corrections")

    def accounts(self, partition: int, wrong: Iterable[WrongAccount], token: int | None) -> None:
        """Store what is wrong in the ledger, by column, and then, with the token of a lease, write the right rows."""
        wrong, rows = list(wrong), []
        repairs: Statements = []
        for one in wrong:
            at = _time(one.minute * MINUTE_MS)
            before = one.before or (None,) * len(LEDGER_COLUMNS)
            for name, was, is_right in zip(LEDGER_COLUMNS, before, one.after, strict=True):
                if was != is_right:
                    key = (self._day, LEDGER, partition, self._audited_at, at, str(one.salt), name)
                    rows.append((self._number, (*key, was, is_right, None, None, token is not None)))
            repairs.append((self._account, (at, one.salt, *one.after, token)))
        write_all(self._session, rows, CONCURRENCY, "audit_finding_corrections")
        if token is not None:
            write_all(self._session, repairs, CONCURRENCY, "ledger")

    @property
    def _day(self) -> date:
        return self._audited_at.date()


def bucket_of(video_id: str) -> int:
    """Return the bucket of a video in audit_minute_corrections. It must never change, since it is in the rows' keys."""
    return zlib.crc32(video_id.encode()) % BUCKETS


def _moment(correction: Correction) -> datetime:
    return _time(correction.minute_ms)


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
