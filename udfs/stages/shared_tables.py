"""Makes the files of all shards from the parts of each shard: channels, and top lists of hours and days."""

from collections.abc import Callable, Mapping, Sequence

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
        }
        for day, part in self._parts("top_days").items():
            files["top_days"][day] = self._put("top_days", day, top_lists.merged([part]))
        return files

    def _hours(self, data_set: str, merge: Callable[[Sequence[pa.Table]], pa.Table]) -> dict[int, str]:
        files = {}
        for hour, part in self._parts(data_set).items():
            table = merge([part])
            files[hour] = self._put(
                data_set, hour, table if "hour" in table.schema.names else with_hour(table, hour * HOUR_MS)
            )
        return files | compact(self._history, self._before, self._plan, data_set, 0, files, self._made)

    def _parts(self, data_set: str) -> dict[int, pa.Table]:
        """Return the parts of all shards, by time. A time that had a file before is included even without rows now."""
        if not self._plan.hours:
            return {}
        names = (part_name(data_set, shard, made) for shard, made in sorted(self._parts_made.items()))
        parts = pa.concat_tables([self._history.get(name) for name in names])
        times = set(pc.unique(parts["at"]).to_pylist())
        made_anew = self._plan.days if data_set == "top_days" else self._plan.hours
        times |= {at for at in made_anew if at in self._before.files[data_set]}
        return {at: parts.filter(pc.equal(parts["at"], at)).drop_columns(["at"]) for at in sorted(times)}

    def _put(self, data_set: str, at: int, table: pa.Table) -> str:
        path = file_name(data_set, at, 0, self._made)
        self._history.put(path, table)
        return path
