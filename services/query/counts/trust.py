"""Says how the stream is and what the last audit found, as header fields: what changes without a new count. Pure.

A stream that nobody sends to is told from one that is broken. Ingest writes heartbeats for salts without events, so the
stream goes on closing minutes while nobody sends. So a stream that closes no minutes is stalled, whether anybody sends
or not; and one that closes minutes and receives no events is idle.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from schemas.progress import frontier_ms
from services.query.counts.spans import Span

HOUR = timedelta(hours=1)
# The stream closes a minute each minute, and writes it down within seconds.
STALLED = timedelta(minutes=3)
# The clocks of two machines may differ by so much. If the stream is further ahead, nobody knows whether it moves.
AHEAD = timedelta(minutes=1)
# What was read of the stream says nothing about it after so long.
TRUSTED = timedelta(seconds=15)
# Of the audit, which runs once a day or once an hour.
AUDITS_TRUSTED = timedelta(minutes=10)
STATUS_FIELD = "View-Counts-Status"
AUDIT_FIELD = "View-Counts-Audit"


class Status(StrEnum):
    """How the stream is."""

    HEALTHY = "healthy"
    IDLE = "idle"
    STALLED = "stalled"
    UNKNOWN = "unknown"


class AuditState(StrEnum):
    """What an audit has found. `REPAIRED` was wrong and is right now; `NONE` is that no audit has run lately."""

    CLEAN = "clean"
    REPAIRED = "repaired"
    WRONG = "wrong"
    NONE = "none"
    UNKNOWN = "unknown"


class Stream(NamedTuple):
    """What was read of the stream at `read_at`.

    `complete` is the end of the last minute that every shard has closed. `is_quiet` says that no event arrived in the
    last minutes and none waits in overflow.
    """

    read_at: datetime
    complete: datetime | None
    is_quiet: bool


class Audited(NamedTuple):
    """How many numbers an audit found wrong, and how many of them it has repaired. Late events are not wrong."""

    at: datetime
    wrong: int
    repaired: int

    @property
    def state(self) -> AuditState:
        """The verdict."""
        if self.wrong == 0:
            return AuditState.CLEAN
        return AuditState.REPAIRED if self.repaired >= self.wrong else AuditState.WRONG


@dataclass(frozen=True)
class Audits:
    """What was read of audits at `read_at`.

    `newest` sums all that the newest audit compared; it is None if none has run lately. `hours` has the newest verdict
    on the stream's minutes of each hour viewed, by the hour's start.
    """

    read_at: datetime
    newest: Audited | None
    hours: Mapping[datetime, Audited] = field(default_factory=dict)


@dataclass(frozen=True)
class Trust:
    """What the process knows about the stream and about audits. None is what could not be read so far."""

    lateness_ms: int
    stream: Stream | None = None
    audits: Audits | None = None


def status(trust: Trust, *, now: datetime) -> tuple[Status, int | None]:
    """How the stream is, and by how many seconds it is behind the clock; None if nobody knows."""
    stream = trust.stream
    if stream is None or now - stream.read_at > TRUSTED:
        return Status.UNKNOWN, None
    frontier = frontier_ms(stream.complete, trust.lateness_ms)
    if frontier is None:
        return Status.UNKNOWN, None
    behind = timedelta(seconds=int(now.timestamp() - frontier / 1000))
    seconds = max(0, int(behind.total_seconds()))
    if behind < -AHEAD:
        return Status.UNKNOWN, None
    if behind > STALLED:
        return Status.STALLED, seconds
    return Status.IDLE if stream.is_quiet else Status.HEALTHY, seconds


def verdict(trust: Trust, span: Span | None, *, now: datetime) -> tuple[AuditState, Audited | None, int]:
    """What audits found, and how many of the hours asked for that is about.

    It is the worst of the newest verdicts on the hours of `span`. If none of them was audited lately, or without a
    span, it is that of the newest audit, about no hour in particular.
    """
    audits = trust.audits
    if audits is None or now - audits.read_at > AUDITS_TRUSTED:
        return AuditState.UNKNOWN, None, 0
    mine = (
        [] if span is None else [one for hour, one in audits.hours.items() if span[0] < hour + HOUR and hour < span[1]]
    )
    if mine:
        states = {one.state for one in mine}
        worst = next(one for one in (AuditState.WRONG, AuditState.REPAIRED, AuditState.CLEAN) if one in states)
        summed = Audited(max(one.at for one in mine), sum(one.wrong for one in mine), sum(one.repaired for one in mine))
        return worst, summed, len(mine)
    if audits.newest is None:
        return AuditState.NONE, None, 0
    return audits.newest.state, audits.newest, 0


def trust_headers(trust: Trust, *, now: datetime, span: Span | None = None) -> dict[str, str]:
    """The header fields of an answer about `span`, which is None for an answer about all times.

    They are structured fields (RFC 9651). An answer 304 has them anew, since they change while the answer does not.
    """
    of_stream, behind_s = status(trust, now=now)
    of_audit, found, hours = verdict(trust, span, now=now)
    said = "" if found is None else f';at="{found.at:%Y-%m-%dT%H:%M:%SZ}";wrong={found.wrong};repaired={found.repaired}'
    return {
        STATUS_FIELD: of_stream + ("" if behind_s is None else f";behind={behind_s}"),
        AUDIT_FIELD: of_audit + said + (f";hours={hours}" if hours else ""),
    }


def newest_of_hours(rows: Iterable[tuple[datetime, Audited]]) -> dict[datetime, Audited]:
    """The newest verdict of each hour, of (start of the hour, verdict) in any order."""
    found: dict[datetime, Audited] = {}
    for hour, one in rows:
        if hour not in found or one.at > found[hour].at:
            found[hour] = one
    return found


def newest_audit(rows: Iterable[Audited]) -> Audited | None:
    """The sums of the rows of the newest audit; None if there are no rows."""
    rows = list(rows)
    newest = max((one.at for one in rows), default=None)
    if newest is None:
        return None
    mine = [one for one in rows if one.at == newest]
    # A comparison that was not repaired must not be made up for by another one.
    repaired = sum(min(one.repaired, one.wrong) for one in mine)
    return Audited(newest, sum(one.wrong for one in mine), repaired)
