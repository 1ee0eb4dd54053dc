"""Sums up what audits have found: the newest verdict on each hour viewed, and on each thing that they compare. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

# (start of a minute, hour or day; shard or partition) of a wrong row.
Place = tuple[datetime, int]


class HourVerdict(NamedTuple):
    """The newest verdict on an hour viewed. `audits` is how many there were, `corrected` what all of them repaired."""

    start: datetime
    audited_at: datetime
    compared: int
    equal: int
    late: int
    late_added: int
    wrong: int
    biggest_difference: int
    audits: int
    corrected: int


class FindingVerdict(NamedTuple):
    """The newest finding on one thing. `audits` is how many there were, and `wrong_audits` how many found it wrong.

    `corrected` is what all of them repaired, and `places` is where it was wrong when it was wrong last.
    """

    what: str
    audited_at: datetime
    compared: int
    wrong: int
    audits: int
    wrong_audits: int
    corrected: int
    places: list[Place]


def verdicts_by_hour(rows: Iterable[Any], start: datetime, end: datetime) -> list[HourVerdict]:
    """The verdicts on the hours from `start` to before `end`, in order. `rows` are of audit_verdicts."""
    by_hour: dict[datetime, list[Any]] = {}
    for row in rows:
        hour = row.hour.replace(tzinfo=UTC)
        if start <= hour < end:
            by_hour.setdefault(hour, []).append(row)
    return [_verdict(hour, of) for hour, of in sorted(by_hour.items())]


def _verdict(hour: datetime, rows: list[Any]) -> HourVerdict:
    newest = max(rows, key=lambda row: row.audited_at)
    return HourVerdict(
        hour,
        newest.audited_at.replace(tzinfo=UTC),
        newest.compared,
        newest.equal,
        newest.late,
        newest.late_added,
        newest.wrong,
        newest.biggest_difference,
        len(rows),
        sum(row.repaired for row in rows),
    )


def findings_by_what(rows: Iterable[Any], start: datetime, end: datetime) -> list[FindingVerdict]:
    """The findings of audits from `start` to before `end`, by what they compared. `rows` are of audit_findings."""
    by_what: dict[str, list[Any]] = {}
    for row in rows:
        if start <= row.audited_at.replace(tzinfo=UTC) < end:
            by_what.setdefault(row.what, []).append(row)
    return [_finding(what, of) for what, of in sorted(by_what.items())]


def _finding(what: str, rows: list[Any]) -> FindingVerdict:
    rows = sorted(rows, key=lambda row: row.audited_at)
    newest, wrong = rows[-1], [row for row in rows if row.wrong]
    places = [(at.replace(tzinfo=UTC), shard) for at, shard in (wrong[-1].places or ())] if wrong else []
    return FindingVerdict(
        what,
        newest.audited_at.replace(tzinfo=UTC),
        newest.compared,
        newest.wrong,
        len(rows),
        len(wrong),
        sum(row.repaired for row in rows),
        places,
    )
