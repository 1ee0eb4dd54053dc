"""What is kept of history: slices, manifests and the names of files. Pure.

A rollup counts the slices of closed hours of arrival (udfs.logic.slices.slice_counts), and from all slices the hours
viewed that are complete: everything that can be counted for them in time lies in slices. Whatever it writes it writes
under new names, and the manifest, written last, makes it the history that there is: a crash leaves the history before.
Which manifest is in force stands in the register (udfs.logic.history.register).
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta

import msgspec

from settings import HistorySettings
from udfs.logic.history.manifest_versions import WHOLE_HOUR, upgraded

VERSION = 5
# A copy of the manifest in force, for readers of Parquet: nothing of the product relies on it.
MANIFEST = "manifest.json"
HOURS_PER_DAY = 24
# By what the files of a data set are: an hour or a day viewed, or all time.
HOURLY = ("minutes", "hours", "countries", "channels", "top_hours")
DAILY = ("days", "devices", "viewers", "marks", "suspects", "top_days")
DATA_SETS = (*HOURLY, *DAILY, "totals")
# In one file for all shards: a channel's videos are in many of them, and the most viewed of all come from each.
OF_ALL_SHARDS = ("channels", "top_hours", "top_days")
_DAY_0 = date(1970, 1, 1)
_TOKEN = re.compile(r"(?:run|manifests)[-/](\d{20})-[0-9a-z]+")
_OLD = re.compile(r"run-\d{8}(?:\.parquet|/)|^slices/arrival_hour=\d+/partition=\d+/(?:part=\d{4}/)?[a-z.]+$")


class HistoryError(ValueError):
    """What is stored is of another version or shape; the text says what to do."""


class MarkRules(msgspec.Struct, frozen=True):
    """By what views are marked (marks.py): maxima of views of one video and kind by one viewer; 0: no rule."""

    minute_max: int
    day_max: int

    def __str__(self) -> str:
        return f"viewer_minute_max={self.minute_max} viewer_day_max={self.day_max}"


class SliceName(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """Which slice: an hour of arrival of a partition is one, or several that follow one another.

    `made` is the token and the attempt that wrote it (`made_by`); empty of those that versions before 4 wrote.
    """

    hour: int
    partition: int
    part: int = 0
    made: str = ""


class Counted(msgspec.Struct, frozen=True, omit_defaults=True):
    """A slice as the manifest remembers it: of its partition the records from `first_offset` to before `next_offset`.

    `gaps` are the offsets (first, last) among them that the archive lacked; then `files` and `bytes` say how many files
    of the hours in which they may lie there were, and how large, so that one that is archived late is noticed.
    `conflicting` are events that bear the id of another video's or kind's, `restamped` repeats under another time.
    """

    name: SliceName
    first_offset: int
    next_offset: int
    next_hour: int
    gaps: list[tuple[int, int]] = []
    files: int = 0
    bytes: int = 0
    conflicting: int = 0
    restamped: int = 0


class Owed(msgspec.Struct, frozen=True):
    """Which rows of the tables follow from a manifest and not from the one before it.

    Those of hours viewed, with their days and totals; of `recounted` ones some may have gone, and are 0 from then on.
    `viewer_days` are days whose viewers and marks were counted; `reasons` say by complete day why its views or marks
    are others. `everything`: all rows that there are or should be, after a restore.
    """

    hours: list[int] = []
    recounted: list[int] = []
    viewer_days: list[int] = []
    reasons: dict[int, str] = {}
    everything: bool = False


class SliceInfo(msgspec.Struct, frozen=True):
    """What slice.json says: where it ends, and what lies in its files.

    `next_hour` is the hour of arrival of the record at `next_offset`; of a slice that is not the hour's last, its own.
    `cells`, `countries`, `viewers` and `known` name the row groups of these files in their order: (shard, hour viewed,
    rows), and of the last (hour viewed, rows). Of viewers it is not the shard but udfs.logic.slices.audience.Sums'
    number for shard and bucket. `repeats` says what those are that repeat an id (udfs.logic.slices.repeats.Repeat, in
    lower case), of a slice that looked. `tallies` by salt are the fields of udfs.logic.stream.ledger.Tally, `gaps`
    offsets that the archive lacks; `archive_files` and `archive_bytes` are what Counted says of files.
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
    made: str = ""
    archive_files: int = 0
    archive_bytes: int = 0
    repeats: dict[str, int] = {}

    @property
    def name(self) -> SliceName:
        """Which it is."""
        return SliceName(self.hour, self.partition, self.part, self.made)

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
    """A state of history. The register names the one in force.

    `token` is that of the lease that published it, in µs, its revision; `before` the name of the manifest that it
    follows, "" of the first; `made_ms` when it was made, in ms since 1970. `topic_id` is Kafka's for the topic whose
    records were counted, "" while that is not known.

    Hours viewed from `from_hour` to before `through_hour` are complete; of `gap_hours` the archive may lack some. Hours
    before `forgotten_before` are as they are for good: no late event is added to them. `next_offsets`,
    `last_slices` and `next_hours` say of each partition how far slices have been counted, as its last SliceInfo does.
    `marked_by` are by day the rules that its views were marked by. `slices` are by hour viewed those that count for it;
    `files` by data set, then by hour, day or 0, then by shard (0 for what is of all shards), the paths below the root.
    Hours of a day may lie in one file. `counted` are by partition the slices that are kept, in order. `final_gap_hours`
    are those of `gap_hours` that no file can mend any more; `final_missing` and `final_missing_hours` are the records
    that are lost for good, by partition and by hour of arrival. `settings` are those that history was made by
    (settings.kept), by name; of one that is not named nobody knows.
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
    token: int = 0
    before: str = ""
    made_ms: int = 0
    topic_id: str = ""
    counted: dict[int, list[Counted]] = {}
    final_gap_hours: list[int] = []
    final_missing: dict[int, int] = {}
    owed: Owed = Owed()
    final_missing_hours: dict[int, int] = {}
    settings: dict[str, int | str] = {}

    @property
    def missing(self) -> dict[int, int]:
        """By partition how many records the archive lacks, of those that it lacks any of."""
        found = Counter(self.final_missing)
        for partition, of in self.counted.items():
            found[partition] += sum(last - first + 1 for one in of for first, last in one.gaps)
        return {partition: number for partition, number in sorted(found.items()) if number}

    @property
    def missing_hours(self) -> dict[int, int]:
        """The same by hour of arrival, in which what is missing would have arrived, or after it."""
        found = Counter(self.final_missing_hours)
        for one in (one for of in self.counted.values() for one in of):
            found[one.name.hour] += sum(last - first + 1 for first, last in one.gaps)
        return {hour: number for hour, number in sorted(found.items()) if number}

    @property
    def all_slices(self) -> set[SliceName]:
        """Every slice that it names."""
        return {
            *(name for names in self.slices.values() for name in names),
            *(one.name for of in self.counted.values() for one in of),
            *self.last_slices.values(),
        }

    @property
    def all_files(self) -> set[str]:
        """The paths of all files of its data sets."""
        return {path for sets in self.files.values() for of in sets.values() for path in of.values()}

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
    """What a manifest's file says, also one of an earlier version.

    Raises HistoryError when it is of a later one, or no manifest.
    """
    try:
        return _read_manifest(content)
    except msgspec.MsgspecError as error:
        raise HistoryError(f"this is no manifest of history: {error}; restore the file") from error


def _read_manifest(content: bytes) -> Manifest:
    # First, since what else it has is another version's.
    version = msgspec.json.decode(content, type=_Version).version
    if version > VERSION:
        raise HistoryError(f"{MANIFEST} is of version {version}, this code reads {VERSION}: use newer code")
    if version == VERSION:
        return _with_all_data_sets(msgspec.json.decode(content, type=Manifest))
    found = upgraded(content)
    if found["version"] != VERSION:
        remedy = "count again from the archive, to another path"
        raise HistoryError(f"{MANIFEST} is of version {version}, which this code does not read: {remedy}")
    return _with_all_data_sets(msgspec.convert(found, Manifest, str_keys=True))


def _with_all_data_sets(found: Manifest) -> Manifest:
    """Return the manifest with an entry for every data set. Code from before a data set wrote none for it."""
    none: dict[str, dict[int, dict[int, str]]] = {data_set: {} for data_set in DATA_SETS}
    return msgspec.structs.replace(found, files=none | found.files)


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


def made_by(token: int, attempt: str) -> str:
    """What the names of files say of who wrote them: the token of a lease, and one attempt of its holder's work."""
    return f"{token:020}-{attempt}"


def token_in(path: str) -> int:
    """The token in a path below the root; 0 where it has none, as paths of versions before 4.

    ValueError when the path is not one that this code gives.
    """
    found = _TOKEN.search(path)
    if found is not None:
        return int(found[1])
    if _OLD.search(path) is not None:
        return 0
    raise ValueError(f"{path} is no path of history")


def file_name(data_set: str, at: int, shard: int, made: str) -> str:
    """The path below the root of a data set's file, which begins as Hive's partitions do; `made` as made_by says."""
    if data_set in HOURLY:
        return _file_name(data_set, day_of(at), f"hour-{at % HOURS_PER_DAY:02}-", shard, made)
    return _file_name(data_set, at if data_set in DAILY else None, "", shard, made)


def file_name_of_day(data_set: str, day: int, shard: int, made: str) -> str:
    """The same of a file that has all hours of a day, of a data set that is HOURLY."""
    return _file_name(data_set, day, "", shard, made)


def _file_name(data_set: str, day: int | None, hour: str, shard: int, made: str) -> str:
    folder = data_set if day is None else f"{data_set}/viewed_day={date_of(day):%Y-%m-%d}"
    of_shard = "" if data_set in OF_ALL_SHARDS else f"shard-{shard:04}-"
    return f"{folder}/{hour}{of_shard}run-{made}.parquet"


def part_name(data_set: str, shard: int, made: str) -> str:
    """The path below the root of what one shard has for a data set of all shards, until that is made."""
    return f"parts/run-{made}/{data_set}-{shard:04}.parquet"


def slice_folder(name: SliceName) -> str:
    """The path below the root of the folder that a slice's files are in."""
    of_hour = f"slices/arrival_hour={name.hour}/partition={name.partition}"
    made = f"-run-{name.made}" if name.made else ""
    return of_hour if name.part == WHOLE_HOUR else f"{of_hour}/part={name.part:04}{made}"
