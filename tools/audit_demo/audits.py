"""Runs audits, reads what they wrote to their tables, and computes what they should have found."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from schemas.jobs import AUDIT
from tools.audit_demo.rows import LEDGER, WHATS, Place, PlantedRow, count_by_table
from tools.audit_demo.truth import Truth
from tools.load.prediction import Cells
from tools.recount import Finding
from tools.stack import FlinkCommandError, Stack

TIMEOUT_S = 900.0
SUMS = ("compared", "equal", "late", "late_added", "wrong", "repaired")
# (video, kind, epoch minute, reason, before, after, repaired)
Correction = tuple[str, str, int, str, int, int, bool]


@dataclass(frozen=True)
class Audit:
    """One audit: whether its job ended with 0, its sums over all hours, and each cell that was late or wrong.

    `wrong` and `repaired` are numbers of rows, by comparison, of everything but minutes. `places` are all such rows
    that were wrong.
    """

    ended_well: bool
    sums: dict[str, int]
    corrections: set[Correction]
    wrong: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    places: set[Place] = field(default_factory=set)


def audit(stack: Stack, session: Any, *, repair: bool = False) -> Audit:
    """Run one audit. Raises FlinkCommandError if the job fails for another reason than wrong counts."""
    before = _last(session)
    options = ["--repair"] if repair else []
    failure: FlinkCommandError | None = None
    try:
        stack.flink("run", "-p", "1", "-py", AUDIT.file, *options, timeout_s=TIMEOUT_S)
    except FlinkCommandError as error:
        failure = error
    at = _last(session)
    if at is None or at == before:
        raise failure or FlinkCommandError("the audit ended without a verdict, because there was no hour to audit")
    sums = Counter[str]()
    for row in session.execute("SELECT * FROM audit_verdicts"):
        if row.audited_at == at:
            sums.update({name: getattr(row, name) for name in SUMS})
    rows = [row for row in session.execute("SELECT * FROM audit_minute_corrections") if row.audited_at == at]
    # Comparisons of no rows are left out.
    others = [
        row for row in session.execute("SELECT * FROM audit_findings") if row.audited_at == at and row.compared > 0
    ]
    return Audit(
        failure is None,
        dict(sums),
        {
            (row.video_id, row.kind, _minute(row.minute), row.reason, row.before, row.after, row.repaired)
            for row in rows
        },
        {row.what: row.wrong for row in others},
        {row.what: row.repaired for row in others},
        {
            (row.what, row.subject, "" if row.what == LEDGER else row.kind, _minute(row.at))
            for row in session.execute("SELECT * FROM audit_finding_corrections")
            if row.audited_at == at
        },
    )


def expected_audit(truth: Truth, stored: Cells, *, repair: bool, rows: Sequence[PlantedRow] = ()) -> Audit:
    """What an audit must find if the stream's table has these numbers, by the definition of an audit.

    `rows` are the errors in other tables.
    """
    views = truth.views()
    corrections = set()
    late_added = 0
    for cell in views.keys() | stored.keys():
        before, after = stored.get(cell, 0), views.get(cell, 0)
        if before != after:
            is_late = before == after - truth.late.get(cell, 0)
            late_added += after - before if is_late else 0
            corrections.add((*cell, "late" if is_late else "wrong", before, after, repair))
    reasons = Counter(reason for _, _, _, reason, *_ in corrections)
    sums = {
        "compared": len(views.keys() | stored.keys()),
        "equal": len(views.keys() | stored.keys()) - len(corrections),
        "late": reasons["late"],
        "late_added": late_added,
        "wrong": reasons["wrong"],
        "repaired": len(corrections) if repair else 0,
    }
    wrong = count_by_table(rows)
    return Audit(
        repair or not (reasons["wrong"] or rows),
        sums,
        corrections,
        wrong,
        wrong if repair else dict.fromkeys(WHATS, 0),
        {error.place for error in rows},
    )


def differences_of(name: str, expected: Audit, found: Audit) -> list[Finding]:
    """Each sum, row and cell in which an audit differs from what it must find."""
    what = f"audit {name}"
    findings = [
        Finding(what, of, expected.sums[of], found.sums.get(of))
        for of in SUMS
        if expected.sums[of] != found.sums.get(of)
    ]
    if expected.ended_well != found.ended_well:
        findings.append(Finding(what, "exit code", 0 if expected.ended_well else 1, 0 if found.ended_well else 1))
    for name_of in ("wrong", "repaired"):
        wanted, there = getattr(expected, name_of), getattr(found, name_of)
        findings += [
            Finding(what, f"{of} {name_of}", wanted.get(of), there.get(of))
            for of in sorted({*wanted, *there})
            if wanted.get(of) != there.get(of)
        ]
    findings += [Finding(what, "row", row, "nothing") for row in sorted(expected.places - found.places)]
    findings += [Finding(what, "row", "nothing", row) for row in sorted(found.places - expected.places)]
    findings += [Finding(what, "cell", cell, "nothing") for cell in sorted(expected.corrections - found.corrections)]
    findings += [Finding(what, "cell", "nothing", cell) for cell in sorted(found.corrections - expected.corrections)]
    return findings


def _last(session: Any) -> datetime | None:
    found = (row.audited_at for row in session.execute("SELECT audited_at FROM audit_verdicts"))
    return max(found, default=None)


def _minute(at: datetime) -> int:
    return round(at.replace(tzinfo=UTC).timestamp()) // 60
