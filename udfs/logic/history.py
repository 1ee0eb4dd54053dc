"""What is kept of history, and what a rollup does next. Pure: from what is there to what is to be made.

A rollup counts the slices of closed hours of arrival (udfs.logic.slice_counts), and from all slices the hours viewed
that are complete: everything that can be counted for them in time lies in slices. Whatever it writes it writes under
new names, and the manifest, written last, makes it the history that there is: a crash leaves the history before.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import msgspec

from settings import CountingSettings, HistorySettings
from settings.durations import HOUR_MS, MINUTE_MS
from udfs.logic.manifest_versions import upgraded

VERSION = 3
MANIFEST = "manifest.json"
HOURS_PER_DAY = 24
# By what the files of a data set are: an hour or a day viewed, or all time.
HOURLY = ("minutes", "hours", "countries", "channels", "top_hours")
DAILY = ("days", "viewers", "marks", "suspects", "top_days")
DATA_SETS = (*HOURLY, *DAILY, "totals")
# In one file for all shards: a channel's videos are in many of them, and the most viewed of all come from each.
OF_ALL_SHARDS = ("channels", "top_hours", "top_days")
_DAY_0 = date(1970, 1, 1)


class HistoryError(ValueError):
    """What is stored is of another version or shape; the text says what to do."""


class MarkRules(msgspec.Struct, frozen=True):
    """By what views are marked (udfs.logic.marks): maxima of views of one video and kind by one viewer; 0: no rule."""

    minute_max: int
    day_max: int

    def __str__(self) -> str:
        return f"viewer_minute_max={self.minute_max} viewer_day_max={self.day_max}"


class SliceName(msgspec.Struct, frozen=True, order=True):
    """Which slice: an hour of arrival of a partition is one, or several that follow one another."""

    hour: int
    partition: int
    part: int = 0


class SliceInfo(msgspec.Struct, frozen=True):
    """What slice.json says: where it ends, and what lies in its files.

    `next_hour` is the hour of arrival of the record at `next_offset`; of a slice that is not the hour's last, its own.
    `cells`, `countries`, `viewers` and `known` name the row groups of these files in their order: (shard, hour viewed,
    rows), and of the last (hour viewed, rows). Of viewers it is not the shard but udfs.logic.audience.Sums' number for
    shard and bucket. `tallies` by salt are the fields of udfs.logic.ledger.Tally, `gaps` offsets that the archive
    lacks.
    """

    partition: int
    hour: int
    part: int
    next_hour: int
    first_offset: int
    next_offset: int
    records: int
    cells: list[tuple[int, int, int]]
    countries: list[tuple[int, int, int]]
    viewers: list[tuple[int, int, int]]
    known: list[tuple[int, int]]
    late: dict[str, int]
    tallies: dict[int, list[tuple[int, ...]]]
    gaps: list[tuple[int, int]]
    viewer_buckets: int = 1

    @property
    def name(self) -> SliceName:
        """Which it is."""
        return SliceName(self.hour, self.partition, self.part)

    @property
    def hours_viewed(self) -> set[int]:
        """Those of which it counts anything."""
        return {hour for _, hour, _ in self.cells}

    def viewer_groups(self, shard: int, hours: Collection[int]) -> Iterator[tuple[int, int, int]]:
        """(place, bucket, rows) of the row groups of viewers of a shard and some hours viewed."""
        for place, (shard_and_bucket, hour, rows) in enumerate(self.viewers):
            of_shard, bucket = divmod(shard_and_bucket, self.viewer_buckets)
            if of_shard == shard and hour in hours:
                yield place, bucket, rows


class Manifest(msgspec.Struct, frozen=True):
    """The history that there is.

    Hours viewed from `from_hour` to before `through_hour` are complete; of `gap_hours` the archive may lack some. Hours
    before `forgotten_before` are as they are for good: no late event is added to them. `next_offsets`,
    `last_slices` and `next_hours` say of each partition how far slices have been counted, as its last SliceInfo does.
    `marked_by` are by day the rules that its views were marked by. `slices` are by hour viewed those that count for it;
    `files` by data set, then by hour, day or 0, then by shard (0 for what is of all shards), the paths below the root.
    Hours of a day may lie in one file.
    """

    version: int
    run: int
    shards: int
    from_hour: int
    through_hour: int
    forgotten_before: int
    next_offsets: dict[int, int]
    last_slices: dict[int, SliceName]
    next_hours: dict[int, int]
    gap_hours: list[int]
    marked_by: dict[int, MarkRules]
    slices: dict[int, list[SliceName]]
    files: dict[str, dict[int, dict[int, str]]]

    @property
    def last_hours(self) -> dict[int, int]:
        """By partition the last hour of arrival that has been counted."""
        return {partition: name.hour for partition, name in self.last_slices.items()}

    @property
    def complete_through(self) -> datetime:
        """The end of the last hour viewed that is complete."""
        return hour_start(self.through_hour)


class _Version(msgspec.Struct):
    version: int


class PartitionTask(msgspec.Struct, frozen=True):
    """The slices of a partition that are to be counted: closed hours, and the newest hour, which is not.

    No hours: nothing of it is.
    """

    partition: int
    hours: list[int]
    newest_hour: int


@dataclass(frozen=True)
class Plan:
    """What a rollup makes of all slices, and from where on: hours and days viewed.

    `days` are those of the hours. Viewers are counted, and their views marked, of `viewer_days`: once when a day is
    complete, again whenever the rules are others, and once more when it is one of `final_days`, to which nothing is
    added any longer. Of those the hours are put into one file. `marked_by` are the rules by day, as in the manifest.
    """

    run: int
    from_hour: int
    through_hour: int
    forgotten_before: int
    hours: list[int]
    viewer_days: list[int]
    final_days: list[int]
    marked_by: dict[int, MarkRules]
    slices: dict[int, list[SliceName]]

    @property
    def days(self) -> list[int]:
        """Every day of which an hour is counted."""
        return sorted({day_of(hour) for hour in self.hours})

    @property
    def complete_days(self) -> list[int]:
        """Every day whose views or marks are counted and that is complete."""
        return sorted(day for day in {*self.days, *self.viewer_days} if _end(day) <= self.through_hour)

    def day_through(self, day: int) -> datetime:
        """Up to when a day is complete: its end, or that of the last hour that is."""
        return hour_start(min(_end(day), self.through_hour))


class ShardResult(msgspec.Struct, frozen=True):
    """What became of a shard: the slices that were new, and its files by data set and time."""

    shard: int
    new: list[SliceInfo]
    files: dict[str, dict[int, str]]


def rules_of(settings: HistorySettings) -> MarkRules:
    """The rules that are set."""
    return MarkRules(settings.viewer_minute_max, settings.viewer_day_max)


def no_history(shards: int) -> Manifest:
    """Before the first rollup."""
    return Manifest(
        version=VERSION,
        run=0,
        shards=shards,
        from_hour=0,
        through_hour=0,
        forgotten_before=0,
        next_offsets={},
        last_slices={},
        next_hours={},
        gap_hours=[],
        marked_by={},
        slices={},
        files={data_set: {} for data_set in DATA_SETS},
    )


def read_manifest(content: bytes) -> Manifest:
    """What manifest.json says, also one of an earlier version. Raises HistoryError when it is of a later one."""
    # First, since what else it has is another version's.
    version = msgspec.json.decode(content, type=_Version).version
    if version > VERSION:
        raise HistoryError(f"{MANIFEST} is of version {version}, this code reads {VERSION}: use newer code")
    if version == VERSION:
        return msgspec.json.decode(content, type=Manifest)
    found = upgraded(content)
    if found["version"] != VERSION:
        remedy = "count again from the archive, to another path"
        raise HistoryError(f"{MANIFEST} is of version {version}, which this code does not read: {remedy}")
    return msgspec.convert(found, Manifest, str_keys=True)


def hour_start(hour: int) -> datetime:
    """The start of an hour since 1970."""
    return datetime.fromtimestamp(hour * 3600, UTC)


def day_of(hour: int) -> int:
    """The day since 1970, in UTC, that contains the hour."""
    return hour // HOURS_PER_DAY


def date_of(day: int) -> date:
    """The date of a day since 1970."""
    return _DAY_0 + timedelta(days=day)


def day_number(day: date) -> int:
    """The number of a day since 1970."""
    return (day - _DAY_0).days


def task_of(partition: int, archived_hours: Iterable[int], last_hour: int | None) -> PartitionTask | None:
    """What is to be counted of a partition, of which these hours are archived and were counted up to `last_hour`.

    To an hour with a later one beside it no record can be added.
    """
    hours = sorted(archived_hours)
    closed = [hour for hour in hours[:-1] if last_hour is None or hour > last_hour]
    return PartitionTask(partition, closed, hours[-1]) if closed else None


def complete_hour(before: Manifest, new: Iterable[SliceInfo], partitions: int, lateness_ms: int) -> int:
    """The hour viewed before which all is complete, with these slices counted."""
    next_hours = _next_hours(before, new)
    if set(next_hours) != set(range(partitions)):
        return before.through_hour
    return max(before.through_hour, (min(next_hours.values()) * HOUR_MS - lateness_ms) // HOUR_MS)


def uncertain_hours(info: SliceInfo, rules: CountingSettings) -> range:
    """The hours viewed for which a slice with gaps may count otherwise than the stream.

    What is missing was to be counted for them, or would have made later events repeats.
    """
    if not info.gaps:
        return range(0)
    first = (info.hour * HOUR_MS - rules.lateness_ms - MINUTE_MS) // HOUR_MS
    last = ((info.next_hour + 1) * HOUR_MS + max(rules.future_skew_ms, 2 * rules.generation_ms)) // HOUR_MS
    return range(first, last + 1)


def from_hour(before: Manifest, new: Iterable[SliceInfo], rules: CountingSettings) -> int:
    """The hour viewed with which history begins: the first certain one, where the archive lacks the first records."""
    found = [uncertain_hours(info, rules).stop for info in new if any(first == 0 for first, _ in info.gaps)]
    return max([before.from_hour, *found])


def _next_hours(before: Manifest, new: Iterable[SliceInfo]) -> dict[int, int]:
    found = dict(before.next_hours)
    for info in new:
        found[info.partition] = max(info.next_hour, found.get(info.partition, info.next_hour))
    return found


def days_to_mark_again(before: Manifest, marks: MarkRules) -> list[int]:
    """Days that are complete, whose viewers are still known, and that were not marked by these rules."""
    days = {day_of(hour) for hour in before.slices if hour >= before.from_hour}
    return sorted(
        day
        for day in days
        if before.forgotten_before < _end(day) <= before.through_hour and before.marked_by.get(day) != marks
    )


def marked_by_none(before: Manifest, days: Iterable[int]) -> Manifest:
    """The same, in which these days are to be marked again whatever the rules are."""
    left = {day: rules for day, rules in before.marked_by.items() if day not in set(days)}
    return msgspec.structs.replace(before, marked_by=left)


def reason_of(before: Manifest, plan: Plan, day: int) -> str:
    """Why the views or the marks of a complete day are others."""
    if day in plan.final_days:
        return "day final"
    if before.through_hour < _end(day):
        return "day complete"
    return "rules changed" if day in plan.viewer_days else "late events"


def plan_of(
    before: Manifest, new: Sequence[SliceInfo], rules: CountingSettings, partitions: int, history: HistorySettings
) -> Plan:
    """What is to be made with these slices. There is one at least, or there are days to mark again."""
    slices = _with_slices(before.slices, new)
    first, through = from_hour(before, new, rules), complete_hour(before, new, partitions, rules.lateness_ms)
    # What arrives from now on adds to no hour before this one, also with other settings.
    last_hours = before.last_hours | {info.partition: info.hour for info in sorted(new, key=lambda info: info.hour)}
    forgotten_before = max(before.forgotten_before, min(last_hours.values()) - history.late_hours)
    days = sorted({day_of(hour) for hour in slices if first <= hour < through})
    final_days = [day for day in days if before.forgotten_before < _end(day) <= forgotten_before]
    marks = rules_of(history)
    due = {*final_days, *days_to_mark_again(before, marks)}
    viewer_days = [day for day in days if before.through_hour < _end(day) <= through or day in due]
    return Plan(
        run=before.run + 1,
        from_hour=first,
        through_hour=through,
        forgotten_before=forgotten_before,
        hours=_to_count(before, new, slices, first, through),
        viewer_days=viewer_days,
        final_days=final_days,
        marked_by=before.marked_by | dict.fromkeys(viewer_days, marks),
        slices=slices,
    )


def _end(day: int) -> int:
    """The hour with which the next day begins."""
    return (day + 1) * HOURS_PER_DAY


def _with_slices(slices: Mapping[int, Iterable[SliceName]], new: Iterable[SliceInfo]) -> dict[int, list[SliceName]]:
    """By hour viewed the slices that count for it, with these ones."""
    found = {hour: set(names) for hour, names in slices.items()}
    for info in new:
        for hour in info.hours_viewed:
            found.setdefault(hour, set()).add(info.name)
    return {hour: sorted(names) for hour, names in sorted(found.items())}


def _to_count(before: Manifest, new: Iterable[SliceInfo], slices: Iterable[int], first: int, through: int) -> list[int]:
    """The hours viewed from `first` to before `through` whose counts change.

    Those that were not complete before, or that a new slice counts for.
    """
    changed = {hour for info in new for hour in info.hours_viewed}
    first = max(first, before.forgotten_before)
    return sorted(h for h in slices if first <= h < through and (h >= before.through_hour or h in changed))


def file_name(data_set: str, at: int, shard: int, run: int) -> str:
    """The path below the root of a data set's file, which begins as Hive's partitions do."""
    if data_set in HOURLY:
        return _file_name(data_set, day_of(at), f"hour-{at % HOURS_PER_DAY:02}-", shard, run)
    return _file_name(data_set, at if data_set in DAILY else None, "", shard, run)


def file_name_of_day(data_set: str, day: int, shard: int, run: int) -> str:
    """The same of a file that has all hours of a day, of a data set that is HOURLY."""
    return _file_name(data_set, day, "", shard, run)


def _file_name(data_set: str, day: int | None, hour: str, shard: int, run: int) -> str:
    folder = data_set if day is None else f"{data_set}/viewed_day={date_of(day):%Y-%m-%d}"
    of_shard = "" if data_set in OF_ALL_SHARDS else f"shard-{shard:04}-"
    return f"{folder}/{hour}{of_shard}run-{run:08}.parquet"


def part_name(data_set: str, shard: int, run: int) -> str:
    """The path below the root of what one shard has for a data set of all shards, until that is made."""
    return f"parts/run-{run:08}/{data_set}-{shard:04}.parquet"


def published(
    before: Manifest,
    plan: Plan,
    results: Sequence[ShardResult],
    of_all_shards: Mapping[str, Mapping[int, str]],
    rules: CountingSettings,
) -> Manifest:
    """The manifest after a rollup. `of_all_shards` are paths by data set and time."""
    new = sorted(results[0].new, key=lambda info: info.name)
    files = {name: {at: dict(of) for at, of in sets.items()} for name, sets in before.files.items()}
    every = [(0, of_all_shards), *((result.shard, result.files) for result in results)]
    for shard, by_name in every:
        for name, paths in by_name.items():
            for at, path in paths.items():
                files[name].setdefault(at, {})[shard] = path
    # Of a day that still changes, all hours: its viewers are counted again when it does not.
    first_day = plan.forgotten_before // HOURS_PER_DAY
    # Nothing that tells of single viewers outlives the slices.
    files["suspects"] = {day: of for day, of in files["suspects"].items() if day >= first_day}
    return Manifest(
        version=before.version,
        run=plan.run,
        shards=before.shards,
        from_hour=plan.from_hour,
        through_hour=plan.through_hour,
        forgotten_before=plan.forgotten_before,
        next_offsets=before.next_offsets | {info.partition: info.next_offset for info in new},
        last_slices=before.last_slices | {info.partition: info.name for info in new},
        next_hours=_next_hours(before, new),
        gap_hours=sorted({*before.gap_hours, *(hour for info in new for hour in uncertain_hours(info, rules))}),
        marked_by=plan.marked_by,
        slices={hour: names for hour, names in plan.slices.items() if day_of(hour) >= first_day},
        files=files,
    )
