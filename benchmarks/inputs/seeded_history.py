"""The seeded hours as history has them: Parquet files of whole days, as after compaction, and a manifest."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import numpy as np
import pyarrow as pa

from benchmarks.inputs.seeded_counts import KIND, Shape, name_of, views_of
from udfs.logic.history.manifest import Manifest, file_name_of_day, made_by, no_history
from udfs.logic.history.register import Applied, manifest_name
from udfs.logic.history.tables import HOURS, TIME
from udfs.logic.kernels.shards import shard_of

HOUR_MS = 3_600_000
ATTEMPT = "benchmark"
# The version that the earlier commit knows, too. Later code reads it as that of an older installation.
MANIFEST_VERSION = 6


def by_shard(shape: Shape, shards: int) -> dict[int, list[int]]:
    """The videos with hours by shard. Each list is in the order of their names."""
    found: dict[int, list[int]] = {shard: [] for shard in range(shards)}
    for number in range(shape.hour_videos):
        found[shard_of(name_of(number), shards)].append(number)
    return found


def table_of_hours(numbers: list[int], hours: range) -> pa.Table:
    """These hours of these videos, sorted by video and then by time."""
    videos = np.repeat(np.asarray(numbers, np.int64), len(hours))
    at = np.tile(np.arange(hours.start, hours.stop, dtype=np.int64), len(numbers))
    names = pa.array([name_of(number) for number in numbers])
    columns = {
        "video_id": names.take(pa.array(np.repeat(np.arange(len(numbers)), len(hours)))),
        "kind": pa.repeat(pa.scalar(KIND), len(at)),
        "hour": pa.array(at * HOUR_MS).cast(TIME),
        "views": pa.array(views_of(videos, at)),
        "late_added": pa.array(np.zeros(len(at), np.int64)),
    }
    return pa.table(columns, schema=HOURS)


def hours_of_day(shape: Shape, day: int) -> range:
    """The counted hours of a day, since 1970."""
    return range(day * 24, min((day + 1) * 24, shape.through_hour))


def files(shape: Shape, shards: int, token: int) -> Iterator[tuple[str, range, int, list[int]]]:
    """(path, hours, shard, videos) of every file of hours."""
    made = made_by(token, ATTEMPT)
    videos = by_shard(shape, shards)
    for day in shape.days_with_parquet:
        for shard, numbers in videos.items():
            if numbers:
                yield file_name_of_day("hours", day, shard, made), hours_of_day(shape, day), shard, numbers


def manifest_of(shape: Shape, shards: int, token: int, now_ms: int) -> Manifest:
    """The manifest that names these files."""
    manifest = msgspec.structs.replace(
        no_history(shards),
        version=MANIFEST_VERSION,
        run=1,
        token=token,
        made_ms=now_ms,
        from_hour=min(shape.first_day, shape.old_days.start) * 24,
        through_hour=shape.through_hour,
    )
    for path, hours, shard, _ in files(shape, shards, token):
        for hour in hours:
            manifest.files["hours"].setdefault(hour, {})[shard] = path
    return manifest


def applied_of(shape: Shape, token: int) -> Applied:
    """What the register says of tables that have all rows of that manifest."""
    return Applied(
        manifest=manifest_name(token, ATTEMPT),
        revision=token,
        # Everything from the beginning is there: the seeded total is a whole one.
        from_hour=0,
        through_hour=shape.through_hour,
        late_through_hour=shape.through_hour,
    )


def token_at(now: datetime) -> int:
    """The token of a lease that begins now, in µs."""
    return int(now.astimezone(UTC).timestamp()) * 1_000_000
