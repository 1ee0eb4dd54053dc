"""Puts the hours of a final day into one file, because queries over years of small files would be slow."""

from collections.abc import Mapping

from udfs.logic.history.manifest import Manifest, day_of, file_name_of_day
from udfs.logic.history.rollup_plan import Plan
from udfs.logic.history.tables import whole_day
from udfs.stores.history_store import HistoryStore


def compact(
    history: HistoryStore,
    before: Manifest,
    plan: Plan,
    data_set: str,
    shard: int,
    new: Mapping[int, str],
    made: str,
) -> dict[int, str]:
    """Write one file for each day that becomes final, and return the new paths by hour.

    `new` has the shard's paths of this rollup, by hour, and `made` names the attempt.
    """
    old = {hour: of[shard] for hour, of in before.files[data_set].items() if shard in of}
    paths = sorted({**old, **new}.items())
    compacted: dict[int, str] = {}
    for day in plan.final_days:
        hours = {hour: path for hour, path in paths if day_of(hour) == day}
        # A day may have no channels, if no video with a known channel was viewed.
        if not hours:
            continue
        path = file_name_of_day(data_set, day, shard, made)
        history.put(path, whole_day([history.get(one) for one in hours.values()]))
        compacted |= dict.fromkeys(hours, path)
    return compacted
