"""An audit in this process: its operators, called one after the other, on what a LocalRollup has made.

Rows of tables are kept as plain Python, and each range of a table is the whole of it once. Knows no cluster and no
Cassandra.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec

from jobs.audit import ranges_of
from tests.support.local_rollup import Folder, LocalRollup, Steps
from udfs.logic.audit.accounts import Fates, Place
from udfs.logic.audit.minutes import Verdict
from udfs.logic.audit.sums import OF_TABLES, Finding
from udfs.operators import audit
from udfs.operators.audit import TABLES, CompareRows, Question, ReadRows, WriteVerdicts
from udfs.sinks import audit_rows, history_rows
from udfs.stores.lease import HeldLease, LeaseHolder

AUDITED_AT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
_DAY_0 = date(1970, 1, 1)
_TIME = {"views_by_hour": "hour", "views_by_day": "day", "view_totals": None}
# (video, kind, time in ms) to (views, late_added, written_us)
Sums = dict[tuple[str, str, int], tuple[int, int, int]]


@dataclass
class LocalTables:
    """What stands in Cassandra: minutes by (video, kind, minute), sums by table, the ledger by (minute, salt)."""

    minutes: dict[tuple[str, str, int], tuple[int, int]] = field(default_factory=dict)
    sums: dict[str, Sums] = field(default_factory=dict)
    ledger: dict[Place, Fates] = field(default_factory=dict)

    @classmethod
    def of(cls, rollup: LocalRollup) -> "LocalTables":
        """What a correct stream has written, and the rollup."""
        manifest, found = rollup.manifest(), cls()
        for by_shard in manifest.files["minutes"].values():
            for path in by_shard.values():
                for row in rollup.store.get(path).to_pylist():
                    minute, views = round(row["minute"].timestamp()) // 60, row["views"] - row["late_added"]
                    if views:
                        found.minutes[row["video_id"], row["kind"], minute] = views, minute * 60_000_000 + views
        found.sums = {table: sums_of(rollup, table) for table in OF_TABLES}
        for name in sorted(manifest.all_slices):
            info = rollup.store.slice_info(name)
            assert info is not None
            for salt, tallies in info.tallies.items():
                found.ledger |= {(minute, salt): tuple(fates) for minute, *fates in tallies}
        return found


def sums_of(rollup: LocalRollup, table: str) -> Sums:
    """The rows of a table, decoded."""
    found: Sums = {}
    for row in rollup.tables.get(table, {}).values():
        at_ms, column = 0, _TIME[table]
        if column == "hour":
            at_ms = _number(row[column])
        elif column == "day":
            at_ms = (_number(row[column], signed=False) - (1 << 31)) * 86_400_000
        if "views" in row:
            name = _text(row["video_id"]), _text(row["kind"]), at_ms
            found[name] = _number(row["views"]), _number(row["late_added"]), row.written["views"]
    return found


def _text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode()


def _number(value: object, *, signed: bool = True) -> int:
    assert isinstance(value, bytes)
    return int.from_bytes(value, signed=signed)


class LocalAudit:
    """Audits what a rollup has made and what these tables have. `kept` is what it wrote of itself, by statement."""

    def __init__(self, rollup: LocalRollup, tables: LocalTables) -> None:
        self._rollup = rollup
        self.tables = tables
        self.kept: dict[str, list[tuple[Any, ...]]] = {}

    def run(self, *, repair: bool = False) -> tuple[list[Verdict], dict[str, Finding]]:
        """What jobs/audit.py does; verdicts, and findings by what they are of."""
        self.kept = {}
        if not repair:
            return self._run(None)
        holder = LeaseHolder(
            self._rollup.registers, self._rollup.settings.history.path, "audit", deadline_s=3600, silent_s=0,
            living_s=0, sleep=lambda _s: None, say=lambda _text: None,
        )  # fmt: skip
        with holder:
            return self._run(holder.lease.held)

    def _run(self, lease: HeldLease | None) -> tuple[list[Verdict], dict[str, Finding]]:
        manifest, settings = self._rollup.manifest(), self._rollup.settings
        first = min(manifest.files["minutes"])
        arrived = [name.hour for name in manifest.all_slices]
        question = Question(
            first=first, end=manifest.through_hour, lease=lease, audited_at=AUDITED_AT, arrived_first=min(arrived),
            arrived_end=max(arrived) + 1, first_day=0, table_hours_from=first,
        )  # fmt: skip
        asked = msgspec.json.encode(question)
        ranges = ranges_of(question)
        expected = {table: sum(TABLES[number] == table for number, *_ in ranges) for table in TABLES}
        keys = settings.counting.shards + settings.kafka.partitions
        with self._parts():
            reading = ReadRows(settings, asked)
            comparing = CompareRows(settings, msgspec.json.encode(manifest), asked, expected)
            ending = WriteVerdicts(settings, asked, keys)
            reading.open(None)
            comparing.open(None)
            ending.open(None)
            rows = [row for one in ranges for row in reading.flat_map(one)]
            told = [
                value
                for key in range(keys)
                for of, content in rows
                if of == key
                for _, value in comparing.process_element(content, SimpleNamespace(get_current_key=lambda key=key: key))
            ]
            ended = [number for value in told for number in ending.process_element(value, None)]
        assert len(ended) == 1
        verdicts = [
            Verdict(round(hour.timestamp()) // 3600, *counts)
            for _, hour, _, *counts in self.kept.get("audit_verdicts", [])
        ]
        findings = {
            what: Finding(what, compared, wrong, repaired, [(round(at.timestamp() * 1000), one) for at, one in places])
            for _, _, what, compared, wrong, repaired, places in self.kept["audit_findings"]
        }
        return verdicts, findings

    @contextmanager
    def _parts(self) -> Iterator[None]:
        session = _Session(self.tables)
        with (
            self._rollup._parts(Folder(Steps()), Steps()),
            mock.patch.object(audit, "filesystem", return_value=Folder(Steps())),
            mock.patch.object(audit, "connect_however_long", return_value=session),
            mock.patch.object(audit, "CassandraRegisters", return_value=self._rollup.registers),
            mock.patch.object(audit_rows, "prepare_however_long", lambda _session, text: text),
            mock.patch.object(audit_rows, "write_all", self._write_all),
            mock.patch.object(audit, "HistoryRows", self._history_rows),
        ):
            yield

    def _history_rows(self, settings: Any, token: int) -> Any:
        """The writer of history, after which the rollup's tables are what these tables have."""
        rows = history_rows.HistoryRows(settings, token)
        for table in OF_TABLES:
            self._rollup.tables.setdefault(table, {}).clear()

        def close() -> None:
            for table in OF_TABLES:
                self.tables.sums[table] |= sums_of(self._rollup, table)

        rows.close = close  # type: ignore[method-assign]
        return rows

    def _write_all(
        self, _session: object, statements: Sequence[tuple[str, tuple[Any, ...]]], _at_once: int, *_: object
    ) -> None:
        for text, values in statements:
            table = text.split()[2]
            if table == "ledger":
                at, salt, *fates, _token = values
                self.tables.ledger[round(at.timestamp()) // 60, salt] = tuple(fates)
            elif table == "views_by_minute":
                video, kind, _day, at, views, token = values
                self.tables.minutes[video, kind, round(at.timestamp()) // 60] = views, token
            else:
                self.kept.setdefault(table, []).append(values)


class _Session:
    """Answers the reads of an audit: of a table all rows for the first range of tokens, and none for others."""

    def __init__(self, tables: LocalTables) -> None:
        self._tables = tables

    def prepare(self, text: str) -> SimpleNamespace:
        return SimpleNamespace(text=text, fetch_size=0)

    def execute(self, statement: SimpleNamespace, values: Sequence[Any]) -> Iterator[Any]:
        table = statement.text.split(" FROM ")[1].split()[0]
        if table == "ledger":
            wanted = {round(at.timestamp()) // 60 for at in values[0]}
            for (minute, salt), fates in self._tables.ledger.items():
                if minute in wanted:
                    yield (_naive(minute * 60_000), salt, *fates)
        elif values[0] == -(1 << 63):
            yield from self._minutes(*values[2:]) if table == "views_by_minute" else self._sums(table, *values[2:])

    def _minutes(self, start: datetime, end: datetime) -> Iterator[Any]:
        for (video_id, kind, minute), (views, written) in self._tables.minutes.items():
            at = _naive(minute * 60_000)
            if start <= at.replace(tzinfo=UTC) < end:
                yield SimpleNamespace(video_id=video_id, kind=kind, minute=at, views=views, written=written)

    def _sums(self, table: str, *since: Any) -> Iterator[Any]:
        for (video_id, kind, at_ms), (views, late_added, written) in self._tables.sums[table].items():
            at: Any = views
            if table == "views_by_hour":
                at = _naive(at_ms)
            elif table == "views_by_day":
                at = _DAY_0 + timedelta(days=at_ms // 86_400_000)
            if not since or (at.replace(tzinfo=UTC) if isinstance(at, datetime) else at) >= since[0]:
                yield video_id, kind, at, views, late_added, written


def _naive(at_ms: int) -> datetime:
    """As the driver gives times."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).replace(tzinfo=None)


def wrong_of(findings: Mapping[str, Finding]) -> dict[str, int]:
    """How many rows are wrong, by what they are of."""
    return {what: one.wrong for what, one in findings.items() if one.wrong}
