"""Makes what is of all shards, from the parts that each has of it: channels, and the most viewed of hours and days."""

from collections.abc import Callable, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from settings.durations import HOUR_MS
from udfs.logic import channel_sums, top_lists
from udfs.logic.history import Manifest, Plan, date_of, file_name, hour_start, part_name
from udfs.logic.history_tables import with_hour
from udfs.sinks.compaction import compact
from udfs.sinks.history_rows import HistoryRows
from udfs.sinks.history_store import HistoryStore


class SharedTables:
    """Of one rollup."""

    def __init__(self, history: HistoryStore, rows: HistoryRows, before: Manifest, plan: Plan) -> None:
        self._history = history
        self._rows = rows
        self._before = before
        self._plan = plan

    def make(self) -> dict[str, dict[int, str]]:
        """All of them; their paths by data set and time."""
        files = {
            "channels": self._hours("channels", channel_sums.merged, self._rows.channels),
            "top_hours": self._hours("top_hours", top_lists.merged, self._rows.top_of_hour),
            "top_days": {},
        }
        for day, part in self._parts("top_days").items():
            table = top_lists.merged([part])
            files["top_days"][day] = self._put("top_days", day, table)
            self._rows.top_of_day(table, date_of(day), self._plan.day_through(day))
        return files

    def _hours(
        self,
        data_set: str,
        merge: Callable[[Sequence[pa.Table]], pa.Table],
        write: Callable[[pa.Table, datetime], None],
    ) -> dict[int, str]:
        files = {}
        for hour, part in self._parts(data_set).items():
            table = merge([part])
            write(table, hour_start(hour))
            files[hour] = self._put(
                data_set, hour, table if "hour" in table.schema.names else with_hour(table, hour * HOUR_MS)
            )
        return files | compact(self._history, self._before, self._plan, data_set, 0, files)

    def _parts(self, data_set: str) -> dict[int, pa.Table]:
        """What all shards have, by time."""
        if not self._plan.hours:
            return {}
        names = (part_name(data_set, shard, self._plan.run) for shard in range(self._before.shards))
        parts = pa.concat_tables([self._history.get(name) for name in names])
        times = sorted(pc.unique(parts["at"]).to_pylist())
        return {at: parts.filter(pc.equal(parts["at"], at)).drop_columns(["at"]) for at in times}

    def _put(self, data_set: str, at: int, table: pa.Table) -> str:
        path = file_name(data_set, at, 0, self._plan.run)
        self._history.put(path, table)
        return path
