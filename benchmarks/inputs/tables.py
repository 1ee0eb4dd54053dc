"""The tables that the rollup makes and others can: as counts by key, to be compared with the truth and each other's.

A table that has a key twice is refused.
"""

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa

from benchmarks.contenders.columns import COLUMNS
from settings.durations import HOUR_MS, MINUTE_MS
from tools.load.prediction import Cells
from udfs.logic.history.manifest import HOURS_PER_DAY, Manifest
from udfs.stores.history_store import HistoryStore

Key = tuple[str | int, ...]
Counts = dict[Key, int]
Tables = dict[str, Counts]

MINUTES_PER_HOUR = HOUR_MS // MINUTE_MS


class DisagreementError(RuntimeError):
    """Somebody counts what others do not."""


def counts_of(name: str, table: pa.Table) -> Counts:
    """A table that has its COLUMNS."""
    *key, count = (table[column].to_pylist() for column in COLUMNS[name])
    found: Counts = dict(zip(zip(*key, strict=True), count, strict=True))
    if len(found) < table.num_rows:
        raise DisagreementError(f"{name} has {table.num_rows} rows of {len(found)} keys")
    return found


def of_history(history: HistoryStore, manifest: Manifest) -> Tables:
    """What the rollup made, of all hours and days that it counted."""
    return {
        "minutes": _counts_of_files(history, manifest, "minutes", "minute", MINUTE_MS),
        "hours": _counts_of_files(history, manifest, "hours", "hour", HOUR_MS),
        "days": _counts_of_files(history, manifest, "days"),
        "countries": _counts_of_files(history, manifest, "countries", "hour", HOUR_MS),
        "viewers": _counts_of_files(history, manifest, "viewers"),
    }


def _counts_of_files(
    history: HistoryStore, manifest: Manifest, name: str, time: str | None = None, unit_ms: int = 1
) -> Counts:
    """A data set whose time is a column, or else what its files are by."""
    paths = {path: at for at, of in manifest.files[name].items() for path in of.values()}
    at_column = next(column for column in COLUMNS[name] if column.startswith("at_"))
    parts = []
    for path, at in paths.items():
        table = history.get(path)
        if time is None:
            times = pa.repeat(pa.scalar(at), table.num_rows)
        else:
            times = pa.array(table[time].cast("int64").to_numpy() // unit_ms)
        parts.append(table.append_column(at_column, times).select(list(COLUMNS[name])))
    return counts_of(name, pa.concat_tables(parts))


def by_minute_hour_day(minutes: Cells) -> Tables:
    """What follows from the truth about minutes."""
    hours: Counter[Key] = Counter()
    days: Counter[Key] = Counter()
    for (video, kind, minute), views in minutes.items():
        hour = minute // MINUTES_PER_HOUR
        hours[video, kind, hour] += views
        days[video, kind, hour // HOURS_PER_DAY] += views
    return {"minutes": dict(minutes.items()), "hours": dict(hours), "days": dict(days)}


def before(tables: Mapping[str, Counts], through_hour: int) -> Tables:
    """Countries and viewers of hours and days that end with this hour or before."""
    return {
        "countries": {key: views for key, views in tables["countries"].items() if int(key[-1]) < through_hour},
        "viewers": {
            key: viewers
            for key, viewers in tables["viewers"].items()
            if (int(key[-1]) + 1) * HOURS_PER_DAY <= through_hour
        },
    }


def compare(who: str, found: Mapping[str, Counts], wanted: Mapping[str, Counts]) -> None:
    """Raises DisagreementError unless each of the wanted tables is found, row by row."""
    for name, counts in wanted.items():
        if found[name] != counts:
            wrong = [(key, found[name].get(key), counts.get(key)) for key in found[name].keys() | counts.keys()]
            some = [one for one in wrong if one[1] != one[2]][:5]
            raise DisagreementError(
                f"{name} of {who}: {len(found[name])} rows instead of {len(counts)}; (key, found, wanted): {some}"
            )
