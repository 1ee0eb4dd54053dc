"""Compares expected with found numbers, and lists what is wrong. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tools.recount.avro import UnreadableError, read_datum
from tools.recount.rules import FATES

SHOWN_MAX = 20
MINUTES_PER_HOUR = 60
_LEDGER = ("received", *FATES, "records", "unreadable_records", "clamped_records")

Cell = tuple[str, str, int]
Place = tuple[int, int, int]


@dataclass(frozen=True)
class Finding:
    """One difference."""

    what: str
    where: str
    expected: object
    found: object

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: expected {self.expected}, found {self.found}"


@dataclass
class Report:
    """What was compared, by name, and what is wrong."""

    compared: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, name: str, compared: int, findings: list[Finding]) -> None:
        """Add the result of one comparison."""
        self.compared[name] = self.compared.get(name, 0) + compared
        self.findings += findings

    def wrong(self, what: str) -> int:
        """How many findings are of this kind."""
        return sum(finding.what == what for finding in self.findings)


def _minute(number: int) -> str:
    return f"{datetime.fromtimestamp(number * 60, UTC):%F %H:%M}"


def compare_cells(expected: Mapping[Cell, int], found: Mapping[Cell, int], what: str = "minute") -> list[Finding]:
    """Compare the views of every (video, kind, minute) on either side."""
    return [
        Finding(what, f"{video_id} {kind} {_minute(minute)}", expected.get(cell, 0), found.get(cell, 0))
        for cell in sorted(expected.keys() | found.keys())
        for video_id, kind, minute in (cell,)
        if expected.get(cell, 0) != found.get(cell, 0)
    ]


def by_hour(cells: Mapping[Cell, int]) -> dict[Cell, int]:
    """The sums of views by (video, kind, hour since 1970)."""
    hours: dict[Cell, int] = {}
    for (video_id, kind, minute), views in cells.items():
        hour = video_id, kind, minute // MINUTES_PER_HOUR
        hours[hour] = hours.get(hour, 0) + views
    return hours


def compare_ledger(
    expected: Mapping[tuple[int, int], Counter[str]], found: Mapping[tuple[int, int], Counter[str]]
) -> list[Finding]:
    """Compare every number of every (minute, salt), and check that the fates add up to what was received."""
    findings = []
    for minute, salt in sorted(expected.keys() | found.keys()):
        mine, theirs = expected.get((minute, salt), Counter()), found.get((minute, salt), Counter())
        if theirs["received"] != sum(theirs[fate] for fate in FATES):
            findings.append(Finding("ledger equation", f"{_minute(minute)} salt {salt}", "a sum", dict(theirs)))
        findings += [
            Finding("ledger", f"{_minute(minute)} salt {salt} {name}", mine[name], theirs[name])
            for name in _LEDGER
            if mine[name] != theirs[name]
        ]
    mine, theirs = totals(expected), totals(found)
    findings += [
        Finding("ledger", f"total {name}", mine[name], theirs[name]) for name in _LEDGER if mine[name] != theirs[name]
    ]
    return findings


def totals(ledger: Mapping[tuple[int, int], Counter[str]]) -> Counter[str]:
    """The sums over all minutes and salts, by column."""
    total: Counter[str] = Counter()
    for tally in ledger.values():
        total.update(tally)
    return total


def compare_rejected(
    what: str, expected: Mapping[Place, Any], found: Mapping[Place, tuple[str, bytes]]
) -> list[Finding]:
    """Compare the event at every (partition, offset, index), or the record's whole value if the index is -1."""
    findings = []
    for place in sorted(expected.keys() | found.keys()):
        if place not in found:
            findings.append(Finding(what, f"{place}", "a letter", None))
        elif place not in expected:
            findings.append(Finding(what, f"{place}", None, found[place][0]))
        else:
            payload = found[place][1]
            if place[2] < 0:
                theirs: Any = payload
            else:
                try:
                    theirs = read_datum("ViewEvent", payload)
                except UnreadableError as error:
                    theirs = str(error)
            if theirs != expected[place]:
                findings.append(Finding(what, f"{place} payload", expected[place], theirs))
    return findings


def compare_progress(expected_ms: int | None, found_ms: Mapping[int, int], shards: int) -> list[Finding]:
    """Check that every shard has closed exactly the minutes that all salts have passed by the lateness."""
    if expected_ms is None:
        return []
    return [
        Finding("closed through", f"shard {shard}", expected_ms, found_ms.get(shard))
        for shard in range(shards)
        if found_ms.get(shard) != expected_ms
    ]
