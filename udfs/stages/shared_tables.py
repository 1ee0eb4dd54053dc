"""Makes the files of all shards from the parts of each shard: channels and their totals, and top lists."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from settings.durations import HOUR_MS
from udfs.logic.history import channel_sums, top_lists
from udfs.logic.history.manifest import Manifest, file_name, part_name
from udfs.logic.history.rollup_plan import Plan
from udfs.logic.history.tables import with_hour
from udfs.stages.compaction import compact
from udfs.stores.history_store import HistoryStore


class SharedTables:
    """Makes the shared tables of one rollup.

    `parts_made` names, by shard, the attempt that made its parts, `made` names this attempt.
    """

    def __init__(
        self, history: HistoryStore, before: Manifest, plan: Plan, parts_made: Mapping[int, str], made: str
    ) -> None:
        self._history = history
        self._before = before
        self._plan = plan
        self._parts_made = parts_made
        self._made = made

    def make(self) -> dict[str, dict[int, str]]:
        """Make all files, and return their paths by data set and time."""
        files = {
            "channels": self._hours("channels", channel_sums.merged),
            "top_hours": self._hours("top_hours", top_lists.merged),
            "top_days": {},
            # Of these lists memory holds those of one day.
            "channel_top_days": {day: self._channel_tops(day) for day in self._plan.days},
        }
        for day, part in self._parts("top_days").items():
            files["top_days"][day] = self._put("top_days", day, top_lists.merged([part]))
        if self._plan.days:
            total = self._channel_totals(files["channels"])
            files["channel_totals"] = {0: self._put("channel_totals", 0, total)}
        return files

    def _channel_tops(self, day: int) -> str:
        names = (part_name("channel_top_days", shard, made) for shard, made in sorted(self._parts_made.items()))
        parts = [self._history.get(name, [("at", "=", day)]) for name in names]
        return self._put("channel_top_days", day, channel_sums.merged_tops(parts))

    def _channel_totals(self, new: Mapping[int, str]) -> pa.Table:
        """Return the views of each channel of all time: those before, with the hours that are counted anew replaced."""
        hours, old = self._plan.hours, {hour: of[0] for hour, of in self._before.files["channels"].items()}
        path = self._before.files["channel_totals"].get(0, {}).get(0)
        if path is None:
            # The code before did not sum them. So all hours that stay are added up.
            total, replaced = channel_sums.CHANNEL_TOTALS.empty_table(), dict[int, str]()
            added = {hour: one for hour, one in old.items() if hour not in set(hours)}
        else:
            total, added = self._history.get(path), {}
            replaced = {hour: old[hour] for hour in hours if hour in old}
        added |= {hour: new[hour] for hour in hours if hour in new}
        return channel_sums.totals(total, self._channels(replaced), self._channels(added))

    def _channels(self, paths: Mapping[int, str]) -> Iterator[pa.Table]:
        """Yield the channels of these hours, file by file. A file may have all hours of a day."""
        hours_of: dict[str, list[int]] = {}
        for hour, path in paths.items():
            hours_of.setdefault(path, []).append(hour)
        for path, hours in hours_of.items():
            table = self._history.get(path)
            yield table.filter(pc.is_in(pc.divide(table["hour"].cast(pa.int64()), HOUR_MS), pa.array(hours)))

    def _hours(self, data_set: str, merge: Callable[[Sequence[pa.Table]], pa.Table]) -> dict[int, str]:
        files = {}
        for hour, part in self._parts(data_set).items():
            table = merge([part])
            files[hour] = self._put(
                data_set, hour, table if "hour" in table.schema.names else with_hour(table, hour * HOUR_MS)
            )
        return files | compact(self._history, self._before, self._plan, data_set, 0, files, self._made)

    def _parts(self, data_set: str) -> dict[int, pa.Table]:
        """Return the parts of all shards, by time.

        A time that had a file before is included even without rows now. So are all hours of channels: an hour without a
        file is one that was not counted by channel.
        """
        if not self._plan.hours:
            return {}
        names = (part_name(data_set, shard, made) for shard, made in sorted(self._parts_made.items()))
        parts = pa.concat_tables([self._history.get(name) for name in names])
        times = set(pc.unique(parts["at"]).to_pylist())
        made_anew = self._plan.days if data_set == "top_days" else self._plan.hours
        times |= {at for at in made_anew if data_set == "channels" or at in self._before.files[data_set]}
        return {at: parts.filter(pc.equal(parts["at"], at)).drop_columns(["at"]) for at in sorted(times)}

    def _put(self, data_set: str, at: int, table: pa.Table) -> str:
        path = file_name(data_set, at, 0, self._made)
        self._history.put(path, table)
        return path
