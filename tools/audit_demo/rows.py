"""Chooses and writes errors in the tables of hours, days, totals and the ledger, and predicts what a repair leaves."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from settings.durations import MINUTES_PER_HOUR
from tools.audit_demo.truth import Truth, summed
from tools.load.prediction import Cells
from tools.recount import Finding

LEDGER = "ledger"
# The key columns of each table.
KEYS: dict[str, tuple[str, ...]] = {
    "views_by_hour": ("video_id", "kind", "month", "hour"),
    "views_by_day": ("video_id", "kind", "day"),
    "view_totals": ("video_id", "kind"),
    LEDGER: ("minute", "salt"),
}
SPANS = {"views_by_hour": MINUTES_PER_HOUR, "views_by_day": 24 * MINUTES_PER_HOUR, "view_totals": None}
# The names of an audit's comparisons, without that of the stream's minutes.
WHATS = ("minutes_parquet", "hours_parquet", "days_parquet", "totals_parquet", *KEYS)
Key = tuple[Any, ...]
# The rows by table and key, with the number that errors change: views, or in the ledger the received events.
Rows = dict[str, dict[Key, int]]
# (comparison, video or salt, kind or "", minute since 1970)
Place = tuple[str, str, str, int]


class RowKind(StrEnum):
    """What went wrong with a row."""

    WRONG_ROW = "wrong"
    LOST_ROW = "lost"
    EXTRA_ROW = "of nobody's views"


@dataclass(frozen=True)
class PlantedRow:
    """A row with its right number and the wrong one in the table. None means that there is no row."""

    table: str
    kind: RowKind
    key: Key
    right: int | None
    wrong: int | None

    @property
    def name(self) -> str:
        """The name of the error in the report."""
        return f"{self.table} row {self.kind.value}"

    @property
    def place(self) -> Place:
        """The place at which an audit must find the error."""
        return place(self.table, self.key)


def place(table: str, key: Key) -> Place:
    """The place by which an audit names a row."""
    named = dict(zip(KEYS[table], key, strict=True))
    at = named.get("hour") or named.get("day") or named.get("minute")
    if isinstance(at, date) and not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day, tzinfo=UTC)
    minute = 0 if at is None else round(at.timestamp()) // 60
    return (table, str(named.get("video_id", named.get("salt"))), str(named.get("kind", "")), minute)


def read_rows(session: Any) -> Rows:
    """All rows of these tables."""
    found: Rows = {}
    for table, key in KEYS.items():
        number = "received" if table == LEDGER else "views"
        rows = session.execute(f"SELECT {', '.join(key)}, {number} AS number FROM {table}")
        found[table] = {
            tuple(_plain(getattr(row, name)) for name in key): row.number for row in rows if row.number is not None
        }
    return found


def chosen_rows(rows: Rows, ledger_end_minute: int, of_each: int, seed: int) -> list[PlantedRow]:
    """`of_each` errors of each kind in each table.

    Errors in the ledger are in minutes before `ledger_end_minute`, and none of them is an additional row. Raises
    ValueError if there are too few rows.
    """
    r = random.Random(seed)  # noqa: S311 - errors need be no secret
    found = []
    for table, there in rows.items():
        kinds = [kind for kind in RowKind if table != LEDGER or kind is not RowKind.EXTRA_ROW]
        candidates = sorted(
            key
            for key, number in there.items()
            if number and (table != LEDGER or place(table, key)[3] < ledger_end_minute)
        )
        wanted = [kind for kind in kinds for _ in range(of_each)]
        if len(candidates) < len(wanted):
            raise ValueError(f"{table} has {len(candidates)} rows, and {len(wanted)} are needed: send more events")
        for kind, key in zip(wanted, r.sample(candidates, len(wanted)), strict=True):
            found.append(_error(table, kind, key, there[key], r.randrange(1, 1000)))
    return found


def _error(table: str, kind: RowKind, key: Key, right: int, by: int) -> PlantedRow:
    match kind:
        case RowKind.WRONG_ROW:
            return PlantedRow(table, kind, key, right, right + by)
        case RowKind.LOST_ROW:
            return PlantedRow(table, kind, key, right, None)
        case RowKind.EXTRA_ROW:
            return PlantedRow(table, kind, (f"nobody-{key[0]}", *key[1:]), None, by)


def plant_rows(session: Any, errors: Iterable[PlantedRow]) -> None:
    """Write the errors into the tables."""
    for error in errors:
        key = KEYS[error.table]
        number = "received" if error.table == LEDGER else "views"
        if error.wrong is None:
            where = " AND ".join(f"{name} = %s" for name in key)
            session.execute(f"DELETE FROM {error.table} WHERE {where}", error.key)
        else:
            session.execute(
                f"INSERT INTO {error.table} ({', '.join(key)}, {number}) VALUES ({', '.join(['%s'] * (len(key) + 1))})",
                (*error.key, error.wrong),
            )


def with_row_errors(rows: Rows, errors: Iterable[PlantedRow]) -> Rows:
    """The rows in the tables after the errors were planted."""
    found = {table: dict(of) for table, of in rows.items()}
    for error in errors:
        if error.wrong is None:
            del found[error.table][error.key]
        else:
            found[error.table][error.key] = error.wrong
    return found


def with_rows_repaired(rows: Rows, errors: Iterable[PlantedRow]) -> Rows:
    """The rows in the tables after a repair. An additional row stays, with the number 0."""
    found = {table: dict(of) for table, of in rows.items()}
    for error in errors:
        found[error.table].setdefault(error.key, 0)
    return found


def differing_rows(expected: Rows, found: Rows) -> list[Finding]:
    """Each row of any table that differs from what it must be."""
    return [
        Finding(table, str(key), expected[table].get(key), found[table].get(key))
        for table in expected
        for key in sorted({*expected[table], *found[table]})
        if expected[table].get(key) != found[table].get(key)
    ]


def not_the_truth(truth: Truth, rows: Rows) -> list[Finding]:
    """Each hour, day and total that differs from what was sent. The ledger is not compared; the audit does that."""
    findings = []
    for table, span in SPANS.items():
        expected = summed(truth.views(), span)
        found: Cells = {(video, kind, at): n for (_, video, kind, at), n in _placed(table, rows[table]).items() if n}
        findings += [
            Finding(table, str(cell), expected.get(cell, 0), found.get(cell, 0))
            for cell in sorted(expected.keys() | found.keys())
            if expected.get(cell, 0) != found.get(cell, 0)
        ]
    return findings


def _placed(table: str, rows: Mapping[Key, int]) -> dict[Place, int]:
    return {place(table, key): number for key, number in rows.items()}


def count_by_table(errors: Sequence[PlantedRow]) -> dict[str, int]:
    """How many errors are planted, by the name of the comparison that must find them."""
    return {what: sum(error.table == what for error in errors) for what in WHATS}


def _plain(value: Any) -> Any:
    """The value with a time zone if it is a time, and as Python's date if it is one of the driver's."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    return value.date() if type(value).__name__ == "Date" else value
