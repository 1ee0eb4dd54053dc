"""Makes the files of one shard in the object store, from its slices and the history before.

Each attempt writes under names of its own. What Cassandra's tables are to say follows from the files, once the manifest
that names them is published (udfs.stages.table_rows).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from connectors.background import Beside
from settings.durations import HOUR_MS
from udfs.logic.erasure.erasures import Eraser
from udfs.logic.history import marks, tables, top_lists
from udfs.logic.history.channel_sums import channels
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
# Of a shard's day so many rows of viewers are in memory, at about 150 bytes each.
VIEWER_ROWS_MAX = 2_000_000
# Reads and writes side by side: each waits for another process most of its time.
THREADS = 4


class ShardTables:
    """One shard of one rollup. `new` are the slices that are not in `before`, `made` names this attempt (made_by)."""

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
        """All of them; the paths of those that are of this shard alone, by data set and time.

        Day by day, so that no more than one is held in memory.
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
        # From here on files are read that were written before.
        self._beside.wait()
        for data_set in ("minutes", "hours", "countries"):
            made = self._files.setdefault(data_set, {})
            made |= compact(self._history, self._before, self._plan, data_set, self._shard, made, self._made)
        for data_set, parts in self._parts.items():
            self._history.put(part_name(data_set, self._shard, self._made), pa.concat_tables(parts))

    def _make_hours(self, numbers: Iterable[int]) -> tuple[ByHour, ByHour, list[pa.Table]]:
        """Write minutes, hours and countries. Return hours, countries, and how views by device change, in tables."""
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
        """Write a day of which these hours, and these of countries, are new. `changes` are those of views by device."""
        table = tables.day(self._of_day("hours", day, hours))
        countries = tables.countries(self._of_day("countries", day, of_hours))
        self._put("days", day, table)
        self._put("devices", day, tables.devices(table, self._old("devices", day, tables.DEVICES), changes))
        self._put_part("top_days", day, top_lists.top(table, countries))

    def _replaced(self, hours: Iterable[int]) -> list[pa.Table]:
        """What there was of these hours before."""
        before = self._before.files["hours"]
        return [self._history.get(before[hour][self._shard]) for hour in hours if hour in before]

    def _make_viewers(self, day: int) -> None:
        """How many there were, and what they viewed beyond the rules."""
        first = day * HOURS_PER_DAY
        # As of the views, of hours before `from_hour` nothing is told.
        hours = range(max(first, self._plan.from_hour), first + HOURS_PER_DAY)
        if not self._is_told_who_viewed(hours):
            return
        counted, suspected = ViewersOfDay(), []
        for share in shares_of(self._viewer_groups(hours), VIEWER_ROWS_MAX):
            days = viewer_days(self._viewers(hours, share))
            counted.add(days)
            suspected.append(marks.beyond(self._viewers(hours, share), days, self._plan.marked_by[day]))
        found = pa.concat_tables(suspected)
        self._put("viewers", day, counted.table())
        self._put("marks", day, marks.by_video(found))
        # Which viewers, is known for as long as the slices are there.
        if day not in self._plan.final_days:
            self._put("suspects", day, marks.suspects(found))

    def _is_told_who_viewed(self, hours: Collection[int]) -> bool:
        """Whether slices say it of all that history has of these hours: some of a history of version 1 do not.

        A part of a day's viewers would be a wrong number of them. Slices of that version may also be gone.
        """
        is_there = all(hour in self._plan.slices for hour in hours if hour in self._before.files["hours"])
        return is_there and all(info.viewer_buckets != NO_VIEWERS for info in self._infos_of(hours))

    # --- below

    def _put(self, data_set: str, at: int, table: pa.Table) -> None:
        path = file_name(data_set, at, self._shard, self._made)
        self._beside.run(self._history.put, path, table)
        self._files.setdefault(data_set, {})[at] = path

    def _old(self, data_set: str, at: int, schema: pa.Schema) -> pa.Table:
        """What there was before."""
        path = self._before.files[data_set].get(at, {}).get(self._shard)
        return schema.empty_table() if path is None else self._history.get(path)

    def _put_part(self, data_set: str, at: int, table: pa.Table) -> None:
        dated = table.append_column("at", pa.repeat(pa.scalar(at), table.num_rows))
        self._parts.setdefault(data_set, []).append(dated)

    def _of_day(self, data_set: str, day: int, new: ByHour) -> list[pa.Table]:
        """Of each hour of the day what there is, new or from before."""
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
        """Of each slice that counts for these hours the viewers of a share."""

        def read(info: SliceInfo) -> pa.Table | None:
            table = self._history.viewers(info, self._shard, hours, share)
            if table is None:
                return None
            # Who is being erased may be in one slice by their own hash, in another by a pseudonym's: one viewer.
            return rows_of(self._eraser.viewers(table)[0], share, self._before.shards)

        return self._read(read, hours)

    def _read(self, read: Callable[[SliceInfo], pa.Table | None], hours: Collection[int]) -> Iterator[pa.Table]:
        """What this gives of each slice that counts for these hours; nothing is read before it is asked for."""
        for table in self._readers.map(read, self._infos_of(hours)):
            if table is not None:
                yield table

    def _viewer_groups(self, hours: Collection[int]) -> Iterator[tuple[int, int, int]]:
        """(bucket, of how many, rows) of all groups that `_viewers` reads."""
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
