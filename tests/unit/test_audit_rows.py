"""What audits keep of cells: bounded, and the same thing once."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from udfs.logic.audit.minutes import Correction
from udfs.sinks import audit_rows
from udfs.sinks.audit_rows import BUCKETS, AuditRows

HOUR = 490_896
AT = datetime(2026, 1, 2, tzinfo=UTC)
CQL = Path(__file__).parents[2] / "schemas" / "cql"


def keys_of(corrections: list[Correction], audited_at: datetime, token: int | None = None) -> list[tuple[Any, ...]]:
    """The primary key of each row that an audit writes of them, by the table's own definition."""
    written: list[tuple[str, tuple[Any, ...]]] = []
    with (
        mock.patch.object(audit_rows, "prepare_however_long", lambda _session, text: text),
        mock.patch.object(audit_rows, "write_all", lambda _session, rows, *_: written.extend(rows)),
    ):
        AuditRows(None, audited_at).corrections(HOUR, corrections, token)
    found = []
    for text, values in written:
        table = text.split()[2]
        if table == "views_by_minute":
            continue
        made = re.search(rf"{table} \((.*?PRIMARY KEY \((.*?)\)\n)", all_cql(), re.DOTALL)
        assert made is not None
        names = re.findall(r"\w+", made[2])
        columns = [name.strip() for name in text.split("(")[1].split(")")[0].split(",")]
        row = dict(zip(columns, values, strict=True))
        found.append(tuple(row[name] for name in names))
    return found


def all_cql() -> str:
    return "\n".join(path.read_text() for path in sorted(CQL.glob("*.cql")))


def cell(video: str, before: int = 3, after: int = 4) -> Correction:
    return Correction(video, "view", HOUR * 3_600_000, "late", before, after, 0)


def test_what_is_as_before_has_no_second_row() -> None:
    found = [keys_of([cell("a"), cell("b")], AT + timedelta(hours=n)) for n in range(3)]
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 2


def test_what_is_otherwise_has_one_of_its_own() -> None:
    rows = [
        keys_of([cell("a")], AT),
        keys_of([cell("a", after=5)], AT),
        keys_of([cell("a", before=2)], AT),
        keys_of([cell("a")], AT, token=7),
    ]
    assert len({key for of in rows for key in of}) == len(rows)


def test_an_hour_is_not_one_partition() -> None:
    partitions = {key[:2] for key in keys_of([cell(f"v{n}") for n in range(500)], AT)}
    assert len(partitions) == BUCKETS


def test_whatever_audits_write_goes_again() -> None:
    cql = all_cql()
    for table in ("audit_verdicts", "audit_minute_corrections", "audit_findings", "audit_finding_corrections"):
        statements = [
            text for text in cql.split(";") if re.search(rf"(TABLE IF NOT EXISTS|ALTER TABLE) {table}\b", text)
        ]
        assert any("default_time_to_live = 8640000" in text for text in statements), table
