"""Puts the hours of a day, to which nothing is added any more, into one file: years of small files are slow to ask."""

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
    """Write it of each day that becomes final; the new paths by hour.

    `new` are a shard's paths by hour, of this rollup, and `made` names the attempt.
    """
    old = {hour: of[shard] for hour, of in before.files[data_set].items() if shard in of}
    paths = sorted({**old, **new}.items())
    compacted: dict[int, str] = {}
    for day in plan.final_days:
        hours = {hour: path for hour, path in paths if day_of(hour) == day}
        # A day on which no video was of a known channel has no channels.
        if not hours:
            continue
        path = file_name_of_day(data_set, day, shard, made)
        history.put(path, whole_day([history.get(one) for one in hours.values()]))
        compacted |= dict.fromkeys(hours, path)
    return compacted
