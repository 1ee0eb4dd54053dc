"""Writes the rows of Cassandra's tables in which a manifest differs from the one before it.

A row depends only on its key and on the manifest, and its write timestamp is the manifest's token. So it may be written
late or several times, and the next process can write the rows that a rollup that died has not written.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from connectors.background import Beside
from udfs.logic.history import imports, marks, tables, video_kinds
from udfs.logic.history.channel_sums import CHANNELS
from udfs.logic.history.manifest import Manifest, date_of, day_of, hour_start
from udfs.logic.history.rollup_plan import day_through
from udfs.logic.history.top_lists import TOPS
from udfs.sinks.history_rows import HistoryRows
from udfs.stages.stale_rows import put_to_zero
from udfs.stores.history_store import HistoryStore

# Rows are written in parallel, and the next ones are read meanwhile.
THREADS = 4
NAMES = ["video_id", "kind"]
_CHANNEL = ["channel_id", "kind"]
_LIST = ["kind", "country"]


class TableRows:
    """Writes the rows that a manifest owes to the tables. `before` is the manifest before it, None if it is unknown.

    `hours_from` is the first hour that the tables of hours still keep. `check` is called between some writes, and
    raises if the rows must not, or need not, be written any more.
    """

    def __init__(
        self,
        history: HistoryStore,
        rows: HistoryRows,
        manifest: Manifest,
        before: Manifest | None,
        *,
        hours_from: int,
        check: Callable[[], object],
    ) -> None:
        self._history = history
        self._rows = rows
        self._manifest = manifest
        self._before = before
        self._check = check
        owed = manifest.owed
        if owed.everything:
            every = sorted(hour for hour in manifest.files["hours"])
            self._days = sorted(manifest.files["days"])
            self._viewer_days = sorted(manifest.files["viewers"])
            self._hours = [hour for hour in every if hour >= hours_from]
        else:
            self._hours = owed.hours
            self._days = sorted({day_of(hour) for hour in owed.hours})
            self._viewer_days = owed.viewer_days

    def write_shard(self, shard: int) -> None:
        """Write hours, days, totals and viewers of the videos of a shard."""
        with Beside(THREADS) as beside:
            changed: list[pa.Table] = []
            for day in self._days:
                self._check()
                changed.append(self._day(shard, day, beside))
            owed = self._manifest.owed
            if self._days or owed.kinds:
                total = self._of("totals", 0, shard, tables.SUMS)
                beside.run(self._rows.kinds, self._changed_kinds(shard, total, changed))
                if self._days:
                    total = total if owed.everything else _those(total, changed)
                    beside.run(self._rows.totals, total, hour_start(self._manifest.through_hour))
        for day in self._viewer_days:
            self._check()
            self._write_viewers(shard, day)
        if self._before is not None:
            for day, reason in self._manifest.owed.reasons.items():
                self._write_changes(self._before, shard, day, reason)

    def write_shared(self) -> None:
        """Write the rows of all shards: channels, top lists and imports."""
        for hour in self._hours:
            self._check()
            self._write_channels(hour)
            lists = tables_of_hour(self._of("top_hours", hour, 0, None), hour)
            self._rows.top_of_hour(_tops(lists), hour_start(hour))
            old = tables_of_hour(self._old("top_hours", hour, 0, None), hour)
            self._rows.lists_gone(_gone_lists(lists, old), hour_start(hour))
        for day in self._days:
            self._check()
            lists = self._of("top_days", day, 0, TOPS)
            through = day_through(self._manifest, day)
            self._rows.top_of_day(lists, date_of(day), through)
            old_lists = self._old("top_days", day, 0, TOPS)
            self._rows.day_lists_gone(_gone_lists(lists, old_lists), date_of(day), through)
        self._write_imports()

    def put_stale_to_zero(self) -> None:
        """Set rows that the tables have and this manifest does not to 0. Call it after all other writes."""
        put_to_zero(self._rows.session, self._rows, self._manifest, self._check)

    def _day(self, shard: int, day: int, beside: Beside) -> pa.Table:
        """Write the hours and the sums of a day. Return the names (video, kind) of the rows of hours."""
        changed: list[pa.Table] = []
        whole: dict[str, pa.Table] = {}
        for hour in (hour for hour in self._hours if day_of(hour) == day):
            path = self._manifest.files["hours"].get(hour, {}).get(shard)
            if path is not None and path not in whole:
                # One file may have all hours of a day, so it is kept for the next hour.
                whole = {path: self._history.get(path)}
            table = tables.HOURS.empty_table() if path is None else tables.of_hour(whole[path], hour)
            if hour in self._manifest.owed.recounted:
                old = tables_of_hour(self._old("hours", hour, shard, tables.HOURS), hour)
                table = _with_gone(table, old, tables.HOURS)
            changed.append(table.select(NAMES))
            beside.run(self._rows.hours, table, hour_start(hour))
        sums = self._of("days", day, shard, tables.SUMS)
        if not self._manifest.owed.everything:
            sums = _those(sums, changed)
        beside.run(self._rows.days, sums, date_of(day), day_through(self._manifest, day))
        return pa.concat_tables(changed) if changed else tables.SUMS.empty_table().select(NAMES)

    def _changed_kinds(self, shard: int, total: pa.Table, changed: Sequence[pa.Table]) -> pa.Table:
        """Return the kinds of videos whose list is not as the manifest before had it, or of all if they are owed.

        `changed` has every video of which any number has changed, since a list follows from the totals of its video.
        """
        if self._manifest.owed.kinds:
            return video_kinds.kinds_of(total)
        names = pa.concat_tables(changed)
        kinds = video_kinds.kinds_of(video_kinds.of_videos(total, names))
        if self._before is None:
            return kinds
        old = self._get(self._before, "totals", 0, shard, tables.SUMS)
        return video_kinds.changed(kinds, video_kinds.kinds_of(video_kinds.of_videos(old, names)))

    def _write_viewers(self, shard: int, day: int) -> None:
        viewers, marked = (self._of(name, day, shard, None) for name in ("viewers", "marks"))
        if viewers is not None and marked is not None:
            self._rows.viewers(marks.with_marks(viewers, marked), date_of(day))

    def _write_changes(self, before: Manifest, shard: int, day: int, reason: str) -> None:
        """Write how the numbers have changed of videos that have, or had, marked views."""
        manifest = self._manifest
        new, old = (self._get(of, "marks", day, shard, marks.MARKS) for of in (manifest, before))
        if new.num_rows or old.num_rows:
            sums = [self._get(of, "days", day, shard, tables.SUMS) for of in (before, manifest)]
            at = datetime.fromtimestamp(manifest.made_ms / 1000, UTC)
            changed = marks.changes((sums[0], old), (sums[1], new))
            self._rows.changes(changed, date_of(day), manifest.run, at, reason, str(manifest.marked_by[day]))

    def _write_channels(self, hour: int) -> None:
        table = tables_of_hour(self._of("channels", hour, 0, CHANNELS), hour)
        if hour in self._manifest.owed.recounted:
            old = tables_of_hour(self._old("channels", hour, 0, CHANNELS), hour)
            table = _with_gone(table, old, CHANNELS, _CHANNEL)
        self._rows.channels(table, hour_start(hour))

    def _write_imports(self) -> None:
        """Write the rows of videos that are, or were, in an import that has changed: the sums of all imports."""
        manifest, before = self._manifest, self._before
        owes_all = manifest.owed.everything or manifest.owed.kinds
        names = sorted(manifest.imports) if owes_all else manifest.owed.imports
        if not names:
            return
        self._check()
        there = {name: self._history.get(one.path) for name, one in manifest.imports.items()}
        changed = [there[name] for name in names if name in there]
        if before is not None and not manifest.owed.everything:
            changed += [self._history.get(before.imports[name].path) for name in names if name in before.imports]
        every = list(there.values())
        self._rows.imported_totals(imports.totals(every, changed))
        self._check()
        self._rows.imported_days(imports.days(every, changed))
        self._check()
        self._rows.imported_kinds(video_kinds.of_imports(every, changed))

    # --- below

    def _of(self, data_set: str, at: int, shard: int, schema: pa.Schema | None) -> pa.Table:
        return self._get(self._manifest, data_set, at, shard, schema)

    def _old(self, data_set: str, at: int, shard: int, schema: pa.Schema | None) -> pa.Table:
        """Return the former table if hours were counted again. Otherwise no row can disappear, and it is not needed."""
        if self._before is None or not self._manifest.owed.recounted:
            return None if schema is None else schema.empty_table()
        return self._get(self._before, data_set, at, shard, schema)

    def _get(self, manifest: Manifest, data_set: str, at: int, shard: int, schema: pa.Schema | None) -> pa.Table:
        path = manifest.files[data_set].get(at, {}).get(shard)
        if path is not None:
            return self._history.get(path)
        return None if schema is None else schema.empty_table()


def tables_of_hour(table: pa.Table | None, hour: int) -> pa.Table | None:
    """Return the rows of an hour, from a table that may have all hours of a day."""
    return None if table is None or "hour" not in table.schema.names else tables.of_hour(table, hour)


def _tops(table: pa.Table | None) -> pa.Table:
    return TOPS.empty_table() if table is None else table


def _those(sums: pa.Table, names: Sequence[pa.Table]) -> pa.Table:
    """Return the sums of these videos and kinds, with 0 for those that have none."""
    if not names:
        return sums.slice(0, 0)
    wanted = pa.concat_tables(names).group_by(NAMES).aggregate([])
    found = wanted.join(sums, NAMES, join_type="left outer").select(tables.SUMS.names)
    for at, name in enumerate(tables.SUMS.names):
        if name not in NAMES:
            found = found.set_column(at, name, pc.fill_null(found[name], 0))
    return found.cast(tables.SUMS).sort_by([(name, "ascending") for name in NAMES])


def _with_gone(table: pa.Table, old: pa.Table, schema: pa.Schema, keys: Sequence[str] = NAMES) -> pa.Table:
    """Return the rows of a table, and, with 0, those of the former table that have disappeared."""
    names = list(keys)
    gone = old.select([*names, "hour"]).join(table.select(names), names, join_type="left anti")
    zeros = pa.repeat(pa.scalar(0, pa.int64()), gone.num_rows)
    gone = gone.append_column("views", zeros).append_column("late_added", zeros)
    return pa.concat_tables([table, gone.select(schema.names).cast(schema)])


def _gone_lists(new: pa.Table | None, old: pa.Table | None) -> Iterable[tuple[str, str]]:
    if old is None or not old.num_rows:
        return []
    names: list[set[tuple[str, str]]] = []
    for table in (old, _tops(new)):
        rows: Mapping[str, list[str]] = table.group_by(_LIST).aggregate([]).to_pydict()
        names.append(set(zip(rows["kind"], rows["country"], strict=True)))
    return sorted(names[0] - names[1])
