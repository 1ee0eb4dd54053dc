"""Compares one shard's history with itself and with Cassandra's tables, and repairs the tables if it may."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from settings.durations import DAY_MS, HOUR_MS
from udfs.logic.audit import sums
from udfs.logic.audit.sums import AMOUNTS, DIFFERENCES, OF_TABLES, Finding, amounts
from udfs.logic.history import marks, tables
from udfs.logic.history.manifest import Manifest, SliceInfo, SliceName, date_of, day_of, hour_start
from udfs.logic.history.rollup_plan import day_through
from udfs.logic.kernels.rows_beside import RowsBeside
from udfs.sinks.audit_rows import AuditRows
from udfs.sinks.history_rows import HistoryRows
from udfs.stores.history_store import HistoryStore


class SliceInfos:
    """Reads the slice.json of slices, each once. Slices that do not exist any more are left out."""

    def __init__(self, history: HistoryStore) -> None:
        self._history = history
        self._infos: dict[SliceName, SliceInfo | None] = {}

    def of(self, names: Iterable[SliceName]) -> list[SliceInfo]:
        """Return those of these names, in order."""
        found = []
        for name in sorted(names):
            if name not in self._infos:
                self._infos[name] = self._history.slice_info(name)
            info = self._infos[name]
            if info is not None:
                found.append(info)
        return found


class ShardHistory:
    """Compares one shard of a manifest, whose files must exist: hours from `first` on, and days from `first_day` on.

    Totals are only compared with days if these are all days of history.
    """

    def __init__(
        self, history: HistoryStore, infos: SliceInfos, manifest: Manifest, shard: int, *, first: int, first_day: int
    ) -> None:
        self._history = history
        self._infos = infos
        self._manifest = manifest
        self._shard = shard
        self._first = first
        self._first_day = first_day

    def differences(
        self, stored: Mapping[str, RowsBeside], *, newer: Collection[int], table_hours_from: int
    ) -> Iterator[tuple[str, int, pa.Table]]:
        """Yield (what, rows compared, DIFFERENCES), for Parquet first, since the tables are compared with it.

        `stored` are the tables' rows as STORED_AMOUNTS, by hour and by day; all totals have the number 0. They are
        taken from it. Rows that were written with a token in `newer` are left out, and so are rows of hours before
        `table_hours_from`.
        """
        # The last file that was read, which may have all hours of a day.
        self._whole: tuple[str, pa.Table] | None = None
        manifest = self._manifest
        hours = [hour for hour in range(self._first, manifest.through_hour) if self._is_there(hour)]
        days = [day for day in sorted(manifest.files["days"]) if day >= self._first_day]
        yield self._compared(sums.MINUTES_PARQUET, ((self._sliced(h), self._minutes(h)) for h in hours if self._has(h)))
        yield self._compared(sums.HOURS_PARQUET, ((self._summed(self._minutes(h), h), self._hour(h)) for h in hours))
        yield self._compared(sums.DAYS_PARQUET, ((self._day_of_hours(day), self._day(day)) for day in days))
        totals = self._total()
        if days == sorted(manifest.files["days"]):
            yield self._compared(sums.TOTALS_PARQUET, [(self._all_days(days), totals)])
        in_table = [hour for hour in hours if hour >= table_hours_from]
        for what, numbers, right in (
            (sums.VIEWS_BY_HOUR, in_table, self._hour),
            (sums.VIEWS_BY_DAY, days, self._day),
            (sums.VIEW_TOTALS, [0], lambda _: totals),
        ):
            yield self._compared(what, self._of_table(numbers, right, stored[what], newer))

    def viewers(self, day: int) -> pa.Table | None:
        """Return viewers and marked views of a day, by video. None while they are not counted."""
        paths = self._path("viewers", day), self._path("marks", day)
        if paths[0] is None or paths[1] is None:
            return None
        return marks.with_marks(self._history.get(paths[0]), self._history.get(paths[1]))

    # --- below

    def _is_there(self, hour: int) -> bool:
        """Return whether history has an hour, or should have it."""
        return hour in self._manifest.files["minutes"] or (hour >= self._manifest.from_hour and self._has(hour))

    def _has(self, hour: int) -> bool:
        """Return whether the slices that count for an hour are kept. Either all are kept or none."""
        return bool(self._manifest.slices.get(hour)) and hour >= self._manifest.from_hour

    def _compared(self, what: str, pairs: Iterable[tuple[pa.Table, pa.Table]]) -> tuple[str, int, pa.Table]:
        compared, wrong = 0, [DIFFERENCES.empty_table()]
        for right, found in pairs:
            rows, differing = sums.differences(right, found)
            compared += rows
            wrong.append(differing)
        return what, compared, pa.concat_tables(wrong)

    def _of_table(
        self, numbers: Iterable[int], right: Callable[[int], pa.Table], rows: RowsBeside, newer: Collection[int]
    ) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Yield (right rows, a table's rows) for these hours or days. For any other there should be no rows."""
        known = set(numbers)
        for number in sorted(known | rows.numbers):
            table = right(number) if number in known else AMOUNTS.empty_table()
            yield sums.without_newer(table, rows.take(number), newer)

    def _sliced(self, hour: int) -> pa.Table:
        parts = (
            self._history.part("cells", info, self._shard, [hour])
            for info in self._infos.of(self._manifest.slices[hour])
        )
        return amounts(tables.minutes([part for part in parts if part is not None]))

    def _minutes(self, hour: int) -> pa.Table:
        return amounts(self._of_hour("minutes", hour, tables.MINUTES))

    def _hour(self, hour: int) -> pa.Table:
        return amounts(self._of_hour("hours", hour, tables.HOURS))

    def _summed(self, minutes: pa.Table, hour: int) -> pa.Table:
        return sums.together([minutes], hour * HOUR_MS)

    def _day_of_hours(self, day: int) -> pa.Table:
        hours = sorted(hour for hour in self._manifest.files["hours"] if day_of(hour) == day)
        return sums.together((self._hour(hour) for hour in hours), day * DAY_MS)

    def _day(self, day: int) -> pa.Table:
        path = self._path("days", day)
        return AMOUNTS.empty_table() if path is None else amounts(self._history.get(path), day * DAY_MS)

    def _total(self) -> pa.Table:
        path = self._path("totals", 0)
        return AMOUNTS.empty_table() if path is None else amounts(self._history.get(path), 0)

    def _all_days(self, days: Iterable[int]) -> pa.Table:
        """Return the sums of these days. It adds one day after another, since memory may not hold all."""
        found = AMOUNTS.empty_table()
        for day in days:
            found = sums.together([found, self._day(day)], 0)
        return found

    def _of_hour(self, data_set: str, hour: int, schema: pa.Schema) -> pa.Table:
        path = self._path(data_set, hour)
        if path is None:
            return schema.empty_table()
        if self._whole is None or self._whole[0] != path:
            self._whole = path, self._history.get(path)
        return tables.of_hour(self._whole[1], hour)

    def _path(self, data_set: str, at: int) -> str | None:
        return self._manifest.files[data_set].get(at, {}).get(self._shard)


class HistoryRepair:
    """Writes the rows of tables that differ from a shard's Parquet.

    `rows` makes the writer when it is first needed. `check` raises if nothing may be written any more.
    """

    def __init__(
        self, shard: ShardHistory, rows: Callable[[], HistoryRows], manifest: Manifest, check: Callable[[], object]
    ) -> None:
        self._made: HistoryRows | None = None
        self._make = rows
        self._shard = shard
        self._manifest = manifest
        self._check = check

    def write(self, what: str, wrong: pa.Table) -> None:
        """Write the right values for the DIFFERENCES of one of OF_TABLES, and 0 where no row should be."""
        if not wrong.num_rows:
            return
        if self._made is None:
            self._made = self._make()
        for at_ms in pc.unique(wrong["at"]).to_pylist():
            self._check()
            mine = wrong.filter(pc.equal(wrong["at"], at_ms))
            table = pa.table(
                [mine[name] for name in ("video_id", "kind", "after", "late_after")], names=tables.SUMS.names
            )
            if what == sums.VIEWS_BY_HOUR:
                self._made.hours(table, datetime.fromtimestamp(at_ms / 1000, UTC))
            elif what == sums.VIEWS_BY_DAY:
                day = at_ms // DAY_MS
                self._made.days(table, date_of(day), day_through(self._manifest, day))
                # A row that was lost has lost its viewers too.
                viewers = self._shard.viewers(day)
                if viewers is not None:
                    self._made.viewers(tables.of_videos_in(viewers, [table]), date_of(day))
            else:
                self._made.totals(table, hour_start(self._manifest.through_hour))

    def close(self) -> None:
        """End the session, if one was needed."""
        if self._made is not None:
            self._made.close()
            self._made = None


def audit_history(
    shard: ShardHistory,
    number: int,
    stored: Mapping[str, RowsBeside],
    rows: AuditRows,
    repair: HistoryRepair | None,
    *,
    newer: Collection[int],
    table_hours_from: int,
) -> list[Finding]:
    """Compare, store what is wrong, and with a `repair` write the right rows of tables."""
    found, doubtful = [], []
    for what, compared, wrong in shard.differences(stored, newer=newer, table_hours_from=table_hours_from):
        mended = wrong.slice(0, 0)
        if what not in OF_TABLES:
            doubtful.append(wrong)
        elif repair is not None:
            # Where Parquet itself is wrong, the right value is unknown.
            mended = sums.without_doubtful(wrong, doubtful)
        left = sums.without_doubtful(wrong, [mended])
        rows.sums(what, number, left, is_repair=False)
        rows.sums(what, number, mended, is_repair=True)
        if repair is not None:
            repair.write(what, mended)
        found.append(sums.finding(what, compared, wrong, number, mended.num_rows))
    return found
