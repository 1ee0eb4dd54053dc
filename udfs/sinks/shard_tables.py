"""Makes the tables of one shard, to the object store and to Cassandra, from its slices and the history before.

Whatever it writes it may write again: names follow from the plan, rows are absolute.
"""

from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa

from udfs.logic import history_tables as tables
from udfs.logic import top_lists
from udfs.logic.channel_sums import channels
from udfs.logic.erasure import Eraser
from udfs.logic.history import (
    HOURS_PER_DAY,
    Manifest,
    Plan,
    SliceInfo,
    SliceName,
    date_of,
    day_of,
    file_name,
    hour_start,
    part_name,
)
from udfs.logic.time_rules import HOUR_MS
from udfs.logic.unique_viewers import viewers_of_day
from udfs.sinks.compaction import compact
from udfs.sinks.history_rows import HistoryRows
from udfs.sinks.history_store import HistoryStore

Files = dict[str, dict[int, str]]


class ShardTables:
    """One shard of one rollup. `new` are the slices that are not in `before`."""

    def __init__(
        self,
        history: HistoryStore,
        rows: HistoryRows,
        *,
        shard: int,
        before: Manifest,
        plan: Plan,
        new: Iterable[SliceInfo],
        channel_of: Mapping[str, str],
        eraser: Eraser,
    ) -> None:
        self._history = history
        self._rows = rows
        self._shard = shard
        self._before = before
        self._plan = plan
        self._channel_of = channel_of
        self._eraser = eraser
        self._infos = {SliceName(info.hour, info.partition): info for info in new}
        self._files: Files = {}

    def make(self) -> Files:
        """All of them; the paths of those that are of this shard alone, by data set and time."""
        hours, countries = self._make_hours()
        days, of_day = self._make_days(hours, countries)
        self._make_totals(hours)
        for day in self._plan.viewer_days:
            self._make_viewers(day)
        for data_set in ("minutes", "hours", "countries"):
            before = {hour: of[self._shard] for hour, of in self._before.files[data_set].items() if self._shard in of}
            paths = before | self._files.get(data_set, {})
            for day in self._plan.final_days:
                compacted = compact(self._history, data_set, day, self._shard, self._plan.run, paths)
                self._files.setdefault(data_set, {}).update(compacted)
        self._put_part("channels", {at: channels(table, self._channel_of) for at, table in hours.items()})
        self._put_part("top_hours", {at: top_lists.top(table, countries[at]) for at, table in hours.items()})
        self._put_part("top_days", {at: top_lists.top(table, of_day[at]) for at, table in days.items()})
        return self._files

    def _make_hours(self) -> tuple[dict[int, pa.Table], dict[int, pa.Table]]:
        """Minutes and hours; hours, and countries, by hour."""
        hours, countries = {}, {}
        for hour in self._plan.hours:
            minutes = tables.minutes(self._of_slices("cells", [hour]))
            hours[hour] = tables.hour(minutes, hour * HOUR_MS)
            countries[hour] = tables.countries(self._of_slices("countries", [hour]))
            by_country = tables.with_hour(countries[hour], hour * HOUR_MS)
            self._put("minutes", hour, minutes)
            self._put("hours", hour, hours[hour])
            self._put("countries", hour, by_country)
            self._rows.hours(hours[hour], hour_start(hour))
        return hours, countries

    def _make_days(
        self, hours: Mapping[int, pa.Table], countries: Mapping[int, pa.Table]
    ) -> tuple[dict[int, pa.Table], dict[int, pa.Table]]:
        """Days, and their countries."""
        days, of_day = {}, {}
        for day in self._plan.days:
            days[day] = tables.day(self._of_day("hours", hours, day))
            of_day[day] = tables.countries(self._of_day("countries", countries, day))
            self._put("days", day, days[day])
            changed = [table for hour, table in hours.items() if day_of(hour) == day]
            end = min(hour_start((day + 1) * HOURS_PER_DAY), hour_start(self._plan.through_hour))
            self._rows.days(tables.of_videos_in(days[day], changed), date_of(day), end)
        return days, of_day

    def _make_totals(self, hours: Mapping[int, pa.Table]) -> None:
        files = self._before.files
        old = [files["hours"][hour][self._shard] for hour in hours if hour in files["hours"]]
        before = files["totals"].get(0, {}).get(self._shard)
        total = tables.totals(
            tables.SUMS.empty_table() if before is None else self._history.get(before),
            [self._history.get(path) for path in old],
            list(hours.values()),
        )
        self._put("totals", 0, total)
        changed = tables.of_videos_in(total, list(hours.values()))
        self._rows.totals(changed, hour_start(self._plan.through_hour))

    def _make_viewers(self, day: int) -> None:
        first = day * HOURS_PER_DAY
        # As of the views, of hours before `from_hour` nothing is told.
        hours = range(max(first, self._plan.from_hour), first + HOURS_PER_DAY)
        table = viewers_of_day(self._of_slices("viewers", hours))
        self._put("viewers", day, table)
        self._rows.viewers(table, date_of(day))

    # --- below

    def _put(self, data_set: str, at: int, table: pa.Table) -> None:
        path = file_name(data_set, at, self._shard, self._plan.run)
        self._history.put(path, table)
        self._files.setdefault(data_set, {})[at] = path

    def _put_part(self, data_set: str, by_time: Mapping[int, pa.Table]) -> None:
        if not by_time:
            return
        dated = [table.append_column("at", pa.repeat(pa.scalar(at), table.num_rows)) for at, table in by_time.items()]
        self._history.put(part_name(data_set, self._shard, self._plan.run), pa.concat_tables(dated))

    def _of_day(self, data_set: str, new: Mapping[int, pa.Table], day: int) -> list[pa.Table]:
        """Of each hour of the day what there is, new or from before."""
        before = self._before.files[data_set]
        return [
            new[hour] if hour in new else self._history.get(before[hour][self._shard])
            for hour in range(day * HOURS_PER_DAY, (day + 1) * HOURS_PER_DAY)
            if hour in new or self._shard in before.get(hour, {})
        ]

    def _of_slices(self, part: str, hours: Collection[int]) -> list[pa.Table]:
        """Of each slice that counts for these hours what it has of them in this shard."""
        names = sorted({name for hour in hours for name in self._plan.slices.get(hour, [])})
        parts = (self._history.part(part, self._info(name), self._shard, hours) for name in names)
        found = [table for table in parts if table is not None]
        # Who is being erased may be in one slice by their own hash and in another by a pseudonym's, and is one viewer.
        return [self._eraser.viewers(table)[0] for table in found] if part == "viewers" else found

    def _info(self, name: SliceName) -> SliceInfo:
        if name not in self._infos:
            info = self._history.slice_info(name)
            assert info is not None, name
            self._infos[name] = info
        return self._infos[name]
