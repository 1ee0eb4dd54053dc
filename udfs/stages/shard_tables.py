"""Makes the files of one shard in the object store, from its slices and from the history before.

Each attempt writes under its own names. The rows of Cassandra's tables are made from these files later, when the
manifest that names them is published (udfs.stages.table_rows).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from connectors.background import Beside
from settings.durations import HOUR_MS
from udfs.logic.erasure.erasures import Eraser
from udfs.logic.history import marks, tables, top_lists
from udfs.logic.history.channel_sums import channels, tops
from udfs.logic.history.manifest import HOURS_PER_DAY, Manifest, SliceInfo, SliceName, day_of, file_name, part_name
from udfs.logic.history.manifest_versions import NO_VIEWERS
from udfs.logic.history.rollup_plan import Plan
from udfs.logic.history.unique_viewers import ViewersOfDay
from udfs.logic.history.viewer_days import viewer_days
from udfs.logic.slices.viewer_buckets import Share, rows_of, shares_of
from udfs.stages.compaction import compact
from udfs.stores.history_store import HistoryStore

Files = dict[str, dict[int, str]]
ByHour = Mapping[int, pa.Table]
# About so many rows of viewers of a shard's day are in memory at a time. Each takes about 150 bytes.
VIEWER_ROWS_MAX = 2_000_000
# So many reads and writes run in parallel, since they mostly wait.
THREADS = 4


class ShardTables:
    """Makes the tables of one shard in one rollup.

    `new` are the slices that `before` does not have, `made` names this attempt (made_by).
    """

    def __init__(
        self,
        history: HistoryStore,
        *,
        shard: int,
        made: str,
        before: Manifest,
        plan: Plan,
        new: Iterable[SliceInfo],
        channel_of: Mapping[str, str],
        eraser: Eraser,
    ) -> None:
        self._history = history
        self._shard = shard
        self._made = made
        self._before = before
        self._plan = plan
        self._channel_of = channel_of
        self._eraser = eraser
        self._infos = {info.name: info for info in new}
        self._files: Files = {}
        self._parts: dict[str, list[pa.Table]] = {}

    def make(self) -> Files:
        """Make all files, and return the paths of those with this shard only, by data set and time.

        It works day by day, so that memory holds one day only.
        """
        with Beside(THREADS) as self._beside, ThreadPoolExecutor(THREADS) as self._readers:
            self._make()
        return self._files

    def _make(self) -> None:
        total = self._old("totals", 0, tables.SUMS)
        for day in self._plan.days:
            hours, countries, changes = self._make_hours([hour for hour in self._plan.hours if day_of(hour) == day])
            self._make_day(day, hours, countries, changes)
            total = tables.totals(total, self._replaced(hours), list(hours.values()))
        self._put("totals", 0, total)
        for day in self._plan.viewer_days:
            self._make_viewers(day)
        # What follows reads files that were written above.
        self._beside.wait()
        for data_set in ("minutes", "hours", "countries"):
            made = self._files.setdefault(data_set, {})
            made |= compact(self._history, self._before, self._plan, data_set, self._shard, made, self._made)
        for data_set, parts in self._parts.items():
            self._history.put(part_name(data_set, self._shard, self._made), pa.concat_tables(parts))

    def _make_hours(self, numbers: Iterable[int]) -> tuple[ByHour, ByHour, list[pa.Table]]:
        """Make minutes, hours and countries of these hours. Return hours, countries, and how views by device change."""
        hours, countries, changes = {}, {}, []
        for hour in numbers:
            names = self._plan.slices.get(hour, [])
            minutes = tables.minutes(list(self._of_slices("cells", hour, names).values()))
            hours[hour] = tables.hour(minutes, hour * HOUR_MS)
            of_slices = self._of_slices("countries", hour, names)
            countries[hour] = tables.countries(list(of_slices.values()))
            changes.append(self._changed_devices(hour, of_slices))
            self._put("minutes", hour, minutes)
            self._put("hours", hour, hours[hour])
            self._put("countries", hour, tables.with_hour(countries[hour], hour * HOUR_MS))
            self._put_part("channels", hour, channels(hours[hour], self._channel_of))
            self._put_part("top_hours", hour, top_lists.top(hours[hour], countries[hour]))
        return hours, countries, changes

    def _changed_devices(self, hour: int, of_slices: Mapping[SliceName, pa.Table]) -> pa.Table:
        """Return how the views of an hour by device change. `of_slices` are the countries of all its slices."""
        is_counted = hour in self._before.files["hours"]
        counted = set(self._before.slices.get(hour, [])) if is_counted else set()
        added = [table for name, table in of_slices.items() if name not in counted]
        gone = counted.difference(self._plan.slices.get(hour, []))
        return tables.changed_devices(added, list(self._of_slices("countries", hour, gone).values()))

    def _make_day(self, day: int, hours: ByHour, of_hours: ByHour, changes: list[pa.Table]) -> None:
        """Make the files of a day, in which these hours, and these hours by country, are new.

        `changes` are those of views by device.
        """
        table = tables.day(self._of_day("hours", day, hours))
        countries = tables.countries(self._of_day("countries", day, of_hours))
        self._put("days", day, table)
        self._put("devices", day, tables.devices(table, self._old("devices", day, tables.DEVICES), changes))
        self._put_part("top_days", day, top_lists.top(table, countries))
        self._put_part("channel_top_days", day, tops(table, self._channel_of))

    def _replaced(self, hours: Iterable[int]) -> list[pa.Table]:
        """Return the former tables of these hours."""
        before = self._before.files["hours"]
        return [self._history.get(before[hour][self._shard]) for hour in hours if hour in before]

    def _make_viewers(self, day: int) -> None:
        """Make viewers, marks and suspects of a day."""
        first = day * HOURS_PER_DAY
        # History begins with `from_hour`, for views and for viewers.
        hours = range(max(first, self._plan.from_hour), first + HOURS_PER_DAY)
        if not self._have_viewers(hours):
            return
        counted, suspected = ViewersOfDay(), []
        for share in shares_of(self._viewer_groups(hours), VIEWER_ROWS_MAX):
            days = viewer_days(self._viewers(hours, share))
            counted.add(days)
            suspected.append(marks.beyond(self._viewers(hours, share), days, self._plan.marked_by[day]))
        found = pa.concat_tables(suspected)
        self._put("viewers", day, counted.table())
        self._put("marks", day, marks.by_video(found))
        # Suspects, which name viewers, are kept only as long as the slices are.
        if day not in self._plan.final_days:
            self._put("suspects", day, marks.suspects(found))

    def _have_viewers(self, hours: Collection[int]) -> bool:
        """Return whether the slices of all these hours say who viewed. In a history of version 1 some do not.

        Slices of that version may also have been deleted. Without all slices, the number of viewers would be wrong.
        """
        is_there = all(hour in self._plan.slices for hour in hours if hour in self._before.files["hours"])
        return is_there and all(info.viewer_buckets != NO_VIEWERS for info in self._infos_of(hours))

    # --- below

    def _put(self, data_set: str, at: int, table: pa.Table) -> None:
        path = file_name(data_set, at, self._shard, self._made)
        self._beside.run(self._history.put, path, table)
        self._files.setdefault(data_set, {})[at] = path

    def _old(self, data_set: str, at: int, schema: pa.Schema) -> pa.Table:
        """Return the former table."""
        path = self._before.files[data_set].get(at, {}).get(self._shard)
        return schema.empty_table() if path is None else self._history.get(path)

    def _put_part(self, data_set: str, at: int, table: pa.Table) -> None:
        dated = table.append_column("at", pa.repeat(pa.scalar(at), table.num_rows))
        self._parts.setdefault(data_set, []).append(dated)

    def _of_day(self, data_set: str, day: int, new: ByHour) -> list[pa.Table]:
        """Return the table of each hour of the day, the new one or the former one."""
        before = self._before.files[data_set]
        hours = range(day * HOURS_PER_DAY, (day + 1) * HOURS_PER_DAY)
        old = (before.get(hour, {}).get(self._shard) for hour in hours if hour not in new)
        paths = [path for path in old if path is not None]
        return [*self._readers.map(self._history.get, paths), *new.values()]

    def _of_slices(self, part: str, hour: int, names: Collection[SliceName]) -> dict[SliceName, pa.Table]:
        """Return a part of these slices for an hour in this shard. Slices that have nothing of it are left out."""
        infos = {name: self._info(name) for name in sorted(names)}
        found = self._readers.map(lambda info: self._history.part(part, info, self._shard, [hour]), infos.values())
        return {name: table for name, table in zip(infos, found, strict=True) if table is not None}

    def _viewers(self, hours: Collection[int], share: Share) -> Iterator[pa.Table]:
        """Yield the viewers of a share from each slice that counts for these hours."""

        def read(info: SliceInfo) -> pa.Table | None:
            table = self._history.viewers(info, self._shard, hours, share)
            if table is None:
                return None
            # During an erasure, a viewer may have the own hash in one slice and that of a pseudonym in another. Replace
            # the own hash, so that it is one viewer.
            return rows_of(self._eraser.viewers(table)[0], share, self._before.shards)

        return self._read(read, hours)

    def _read(self, read: Callable[[SliceInfo], pa.Table | None], hours: Collection[int]) -> Iterator[pa.Table]:
        """Yield what `read` returns for each slice that counts for these hours, except None."""
        for table in self._readers.map(read, self._infos_of(hours)):
            if table is not None:
                yield table

    def _viewer_groups(self, hours: Collection[int]) -> Iterator[tuple[int, int, int]]:
        """Yield (bucket, number of buckets, rows) of all row groups that `_viewers` reads."""
        for info in self._infos_of(hours):
            for _, bucket, rows in info.viewer_groups(self._shard, hours):
                yield bucket, info.viewer_buckets, rows

    def _infos_of(self, hours: Collection[int]) -> list[SliceInfo]:
        return [
            self._info(name) for name in sorted({name for hour in hours for name in self._plan.slices.get(hour, [])})
        ]

    def _info(self, name: SliceName) -> SliceInfo:
        if name not in self._infos:
            info = self._history.slice_info(name)
            assert info is not None, name
            self._infos[name] = info
        return self._infos[name]
