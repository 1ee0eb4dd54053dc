"""Tables as counts by key, of the rollup and of other contenders, to compare them with the truth and with each other.

A table with the same key in two rows is refused.
"""

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa

from benchmarks.inputs.columns import COLUMNS
from settings.durations import HOUR_MS, MINUTE_MS
from tools.load.prediction import Cells
from udfs.logic.history.manifest import HOURS_PER_DAY, Manifest
from udfs.stores.history_store import HistoryStore

Key = tuple[str | int, ...]
Counts = dict[Key, int]
Tables = dict[str, Counts]

MINUTES_PER_HOUR = HOUR_MS // MINUTE_MS


class DisagreementError(RuntimeError):
    """A contender's counts are wrong, or differ from those of another one."""


def counts_of(name: str, table: pa.Table) -> Counts:
    """The counts in a table that has the COLUMNS of `name`. Raises DisagreementError if a key is there twice."""
    *key, count = (table[column].to_pylist() for column in COLUMNS[name])
    found: Counts = dict(zip(zip(*key, strict=True), count, strict=True))
    if len(found) < table.num_rows:
        raise DisagreementError(f"{name} has {table.num_rows} rows of {len(found)} keys")
    return found


def of_history(history: HistoryStore, manifest: Manifest) -> Tables:
    """The tables that the rollup made, with all hours and days that it counted."""
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
    """The counts of a data set. Its time is the column `time`; if that is None, it is the key of the files."""
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
    """The tables of minutes, hours and days that follow from the true minutes."""
    hours: Counter[Key] = Counter()
    days: Counter[Key] = Counter()
    for (video, kind, minute), views in minutes.items():
        hour = minute // MINUTES_PER_HOUR
        hours[video, kind, hour] += views
        days[video, kind, hour // HOURS_PER_DAY] += views
    return {"minutes": dict(minutes.items()), "hours": dict(hours), "days": dict(days)}


def before(tables: Mapping[str, Counts], through_hour: int) -> Tables:
    """The tables of countries and viewers, with only the hours and days that end at `through_hour` or before."""
    return {
        "countries": {key: views for key, views in tables["countries"].items() if int(key[-1]) < through_hour},
        "viewers": {
            key: viewers
            for key, viewers in tables["viewers"].items()
            if (int(key[-1]) + 1) * HOURS_PER_DAY <= through_hour
        },
    }


def compare(who: str, found: Mapping[str, Counts], wanted: Mapping[str, Counts]) -> None:
    """Raise DisagreementError if a wanted table differs from the one found in any row."""
    for name, counts in wanted.items():
        if found[name] != counts:
            wrong = [(key, found[name].get(key), counts.get(key)) for key in found[name].keys() | counts.keys()]
            some = [one for one in wrong if one[1] != one[2]][:5]
            raise DisagreementError(
                f"{name} of {who}: {len(found[name])} rows instead of {len(counts)}; (key, found, wanted): {some}"
            )
