"""What history consists of: slices, manifests and the names of files.

A rollup counts the slices of ended hours of arrival (udfs.logic.slices.slice_counts). From all slices it makes the
hours viewed that are complete, that is, for which slices have everything that can count in time. It writes files under
new names only, and the manifest last. A crash therefore leaves the history before. The register names the manifest
that is in force (udfs.logic.history.register).
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta

import msgspec

from settings import HistorySettings
from udfs.logic.history.manifest_versions import WHOLE_HOUR, upgraded

VERSION = 6
# The name of a copy of the manifest in force, for readers of Parquet. The product itself does not read it.
MANIFEST = "manifest.json"
HOURS_PER_DAY = 24
# The files of these data sets are for an hour viewed, a day viewed, or all time.
HOURLY = ("minutes", "hours", "countries", "channels", "top_hours")
DAILY = ("days", "devices", "viewers", "marks", "suspects", "top_days", "channel_top_days")
DATA_SETS = (*HOURLY, *DAILY, "totals", "channel_totals")
# Code that does not know these names their files on without making them anew (Manifest.has_kinds).
ADDED = ("channel_top_days", "channel_totals")
# What other counters have counted, in a file for each name (udfs.logic.history.imports).
IMPORTS = "imports"
# One file of these has all shards, because a channel's videos and the most viewed videos come from many shards.
OF_ALL_SHARDS = ("channels", "top_hours", "top_days", "channel_top_days", "channel_totals")
_DAY_0 = date(1970, 1, 1)
_TOKEN = re.compile(r"(?:run|manifests)[-/](\d{20})-[0-9a-z]+")
_OLD = re.compile(r"run-\d{8}(?:\.parquet|/)|^slices/arrival_hour=\d+/partition=\d+/(?:part=\d{4}/)?[a-z.]+$")


class HistoryError(ValueError):
    """What is stored of history cannot be used. The text says why and what to do."""


class MarkRules(msgspec.Struct, frozen=True):
    """The rules by which views are marked (marks.py): how often one viewer may view one video and kind; 0: no rule."""

    minute_max: int
    day_max: int

    def __str__(self) -> str:
        return f"viewer_minute_max={self.minute_max} viewer_day_max={self.day_max}"


class SliceName(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """The name of a slice. An hour of arrival of a partition is one slice, or several parts, one after another.

    `made` is the token and the attempt that wrote it (`made_by`). It is empty if a version before 4 wrote it.
    """

    hour: int
    partition: int
    part: int = 0
    made: str = ""


class Counted(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the manifest keeps of a slice, which has its partition's records from `first_offset` to `next_offset - 1`.

    `gaps` are the ranges of offsets (first, last) that the archive lacked. With gaps, `files` and `bytes` are the
    number and the size of the archive's files for the hours in which these records may be, so that a file that is
    archived late is noticed. `conflicting` counts events with the id of an event of another video or kind, `restamped`
    counts repeats with another time.
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
    """The rows of the tables in which a manifest differs from the one before it, so that they have to be written.

    They are the rows of `hours` viewed, of their days, and totals. Rows of `recounted` hours may have disappeared; they
    are written as 0. `viewer_days` are days whose viewers and marks were counted. `reasons` say, by complete day, why
    its views or marks have changed. `imports` are the names of the imports that have changed. `everything` says that
    all rows have to be written, after a restore. `kinds` says that the kinds of all videos have to be.
    """

    hours: list[int] = []
    recounted: list[int] = []
    viewer_days: list[int] = []
    reasons: dict[int, str] = {}
    everything: bool = False
    imports: list[str] = []
    kinds: bool = False


class Import(msgspec.Struct, frozen=True):
    """Numbers that another counter has counted (udfs.logic.history.imports).

    `path` is its file below the root, with `rows` rows and `views` views in all, and `sha256` is the digest of the
    rows. All of it was viewed before the hour `cut_over` since 1970. `made_ms` is when it was imported, in ms since
    1970.
    """

    path: str
    sha256: str
    cut_over: int
    rows: int
    views: int
    made_ms: int


class SliceInfo(msgspec.Struct, frozen=True):
    """The content of slice.json: where the slice begins and ends, and what its files hold.

    `next_hour` is the hour of arrival of the record at `next_offset`, or the slice's own hour if it is not the last of
    that hour. `cells`, `countries`, `viewers` and `known` list the row groups of the files of these names, in order:
    (shard, hour viewed, rows), and for `known`, the seen ids, (hour viewed, rows). For `viewers` the shard is the
    number of shard and bucket that udfs.logic.slices.audience.Sums explains. `repeats` counts the events that repeat an
    id by what they are (udfs.logic.slices.repeats.Repeat, in lower case). `tallies` are, by salt, the fields of
    udfs.logic.stream.ledger.Tally. `gaps`, `archive_files` and `archive_bytes` are those of Counted.
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
        """Its name."""
        return SliceName(self.hour, self.partition, self.part, self.made)

    @property
    def hours_viewed(self) -> set[int]:
        """The hours viewed for which it counts anything."""
        return {hour for _, hour, _ in self.cells}

    def viewer_groups(self, shard: int, hours: Collection[int]) -> Iterator[tuple[int, int, int]]:
        """Yield (number, bucket, rows) of the row groups of viewers that are of a shard and of these hours viewed."""
        for place, (shard_and_bucket, hour, rows) in enumerate(self.viewers):
            of_shard, bucket = divmod(shard_and_bucket, self.viewer_buckets)
            if of_shard == shard and hour in hours:
                yield place, bucket, rows


class Manifest(msgspec.Struct, frozen=True):
    """A state of history. The register names the one in force.

    `token` is the token of the lease that published it, in µs. `before` is the name of the manifest before it, "" for
    the first. `made_ms` is when it was made, in ms since 1970. `topic_id` is Kafka's id of the topic whose records were
    counted, "" while that is not known.

    Hours viewed from `from_hour` to `through_hour - 1` are complete; for `gap_hours`, records may be missing in the
    archive. Hours before `forgotten_before` are final: no late event is added to them. `next_offsets`, `last_slices`
    and `next_hours` say, by partition, how far slices have been counted, as its last SliceInfo does. `marked_by` has,
    by day, the rules by which its views were marked. `slices` has, by hour viewed, the slices that count for it.
    `files` has paths below the root by data set, then by hour, day or 0, then by shard (0 if a file has all shards).
    Hours of one day may lie in one file. `counted` has, by partition, the slices that are kept, in order.
    `final_gap_hours` are those `gap_hours` that no late file can repair any more. `final_missing` and
    `final_missing_hours` are the numbers of records that are lost for good, by partition and by hour of arrival.
    `settings` are the settings with which history was made (settings.kept), by name. One that is not there is unknown.
    `imports` are what other counters have counted, by name. Neither `files` nor the numbers of hours contain them.
    `has_kinds` says that the tables list the kinds of videos. Code that wrote no such lists wrote no such field.
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
    imports: dict[str, Import] = {}
    has_kinds: bool = False

    @property
    def missing(self) -> dict[int, int]:
        """How many records the archive lacks, by partition. Partitions without missing records are left out."""
        found = Counter(self.final_missing)
        for partition, of in self.counted.items():
            found[partition] += sum(last - first + 1 for one in of for first, last in one.gaps)
        return {partition: number for partition, number in sorted(found.items()) if number}

    @property
    def missing_hours(self) -> dict[int, int]:
        """How many records the archive lacks, by the hour of arrival in which, or after which, they arrived."""
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
        """The paths of all files of its data sets and imports."""
        of_sets = {path for sets in self.files.values() for of in sets.values() for path in of.values()}
        return of_sets | {one.path for one in self.imports.values()}

    @property
    def last_hours(self) -> dict[int, int]:
        """The last hour of arrival that has been counted, by partition."""
        return {partition: name.hour for partition, name in self.last_slices.items()}

    @property
    def complete_through(self) -> datetime:
        """The end of the last hour viewed that is complete."""
        return hour_start(self.through_hour)


class _Version(msgspec.Struct):
    version: int


def rules_of(settings: HistorySettings) -> MarkRules:
    """Return the rules that the settings contain."""
    return MarkRules(settings.viewer_minute_max, settings.viewer_day_max)


def no_history(shards: int) -> Manifest:
    """Return the manifest of an empty history, before the first rollup."""
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
        has_kinds=True,
    )


def read_manifest(content: bytes) -> Manifest:
    """Read a manifest's file. It may be of an earlier version.

    Raises HistoryError when it is of a later version, or is not a manifest.
    """
    try:
        return _read_manifest(content)
    except msgspec.MsgspecError as error:
        raise HistoryError(f"this is not a manifest of history: {error}; restore the file") from error


def _read_manifest(content: bytes) -> Manifest:
    # The version is read first, since the other fields depend on it.
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
    """Return the manifest with an entry for every data set. Code from before a data set wrote none for it.

    If such code has carried on what newer code had written, files of ADDED are older than all others, and left out.
    """
    none: dict[str, dict[int, dict[int, str]]] = {data_set: {} for data_set in DATA_SETS}
    files = none | found.files
    return msgspec.structs.replace(found, files=files if found.has_kinds else files | {one: {} for one in ADDED})


def hour_start(hour: int) -> datetime:
    """Return the start of an hour since 1970."""
    return datetime.fromtimestamp(hour * 3600, UTC)


def day_of(hour: int) -> int:
    """Return the day since 1970, in UTC, that contains the hour."""
    return hour // HOURS_PER_DAY


def date_of(day: int) -> date:
    """Return the date of a day since 1970."""
    return _DAY_0 + timedelta(days=day)


def day_number(day: date) -> int:
    """Return the number of a day since 1970."""
    return (day - _DAY_0).days


def made_by(token: int, attempt: str) -> str:
    """Return the part of file names that says who wrote them: the token of a lease, and an attempt of its holder."""
    return f"{token:020}-{attempt}"


def token_in(path: str) -> int:
    """Return the token in a path below the root, or 0 if it has none, as in paths of versions before 4.

    Raises ValueError if history has no such paths.
    """
    found = _TOKEN.search(path)
    if found is not None:
        return int(found[1])
    if _OLD.search(path) is not None:
        return 0
    raise ValueError(f"{path} is no path of history")


def file_name(data_set: str, at: int, shard: int, made: str) -> str:
    """Return the path of a data set's file below the root, in the form of Hive's partitions. `made` is from made_by."""
    if data_set in HOURLY:
        return _file_name(data_set, day_of(at), f"hour-{at % HOURS_PER_DAY:02}-", shard, made)
    return _file_name(data_set, at if data_set in DAILY else None, "", shard, made)


def file_name_of_day(data_set: str, day: int, shard: int, made: str) -> str:
    """Return the path of a file that has all hours of a day, for a data set that is HOURLY."""
    return _file_name(data_set, day, "", shard, made)


def _file_name(data_set: str, day: int | None, hour: str, shard: int, made: str) -> str:
    folder = data_set if day is None else f"{data_set}/viewed_day={date_of(day):%Y-%m-%d}"
    of_shard = "" if data_set in OF_ALL_SHARDS else f"shard-{shard:04}-"
    return f"{folder}/{hour}{of_shard}run-{made}.parquet"


def import_name(name: str, made: str) -> str:
    """Return the path of an import's file below the root. `made` is from made_by."""
    return f"{IMPORTS}/name={name}/run-{made}.parquet"


def part_name(data_set: str, shard: int, made: str) -> str:
    """Return the path below the root of one shard's part of a file of all shards, which exists until that is made."""
    return f"parts/run-{made}/{data_set}-{shard:04}.parquet"


def slice_folder(name: SliceName) -> str:
    """Return the path below the root of the folder of a slice's files."""
    of_hour = f"slices/arrival_hour={name.hour}/partition={name.partition}"
    made = f"-run-{name.made}" if name.made else ""
    return of_hour if name.part == WHOLE_HOUR else f"{of_hour}/part={name.part:04}{made}"
