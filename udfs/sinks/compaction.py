"""Puts the hours of a day, to which nothing is added any more, into one file: years of small files are slow to ask."""

from collections.abc import Mapping

from udfs.logic.history import day_of, file_name_of_day
from udfs.logic.history_tables import whole_day
from udfs.sinks.history_store import HistoryStore


def compact(
    history: HistoryStore, data_set: str, day: int, shard: int, run: int, paths: Mapping[int, str]
) -> dict[int, str]:
    """Write it; the new path of each of the day's hours. `paths` are a shard's by hour, also of other days."""
    hours = {hour: path for hour, path in sorted(paths.items()) if day_of(hour) == day}
    # A day on which no video was of a known channel has no channels.
    if not hours:
        return {}
    path = file_name_of_day(data_set, day, shard, run)
    history.put(path, whole_day([history.get(one) for one in hours.values()]))
    return dict.fromkeys(hours, path)
