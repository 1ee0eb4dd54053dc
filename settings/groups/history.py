"""The archive, the history made from it, and erasures from both."""

from typing import Literal

from pydantic import Field

from settings.durations import MINUTE_MS
from settings.groups.base import Group, S3Folder


class ArchiveSettings(Group):
    """The job that copies the events topic to the object store."""

    path: S3Folder = Field("s3://view-counts/archive", description="The folder of the archive in a bucket.")
    roll_ms: int = Field(
        MINUTE_MS,
        ge=1000,
        description="Time between two checkpoints of the archive job. Each checkpoint ends a file of every partition, "
        "so with a longer time files are larger and appear later.",
    )
    codec: Literal["zstandard", "deflate", "null"] = Field(
        "zstandard", description="The codec of the Avro files. The archive may contain files of different codecs."
    )
    kept_days: int = Field(
        7,
        ge=1,
        description="The rollup removes raw events this many days after they arrived, but not before the oldest kept "
        "manifest counts them for good. It must be longer than late events are added.",
    )


class HistorySettings(Group):
    """The rollup, and the history that it makes from the archive."""

    path: S3Folder = Field(
        "s3://view-counts/history", description="The folder of Parquet files and manifests in a bucket."
    )
    late_hours: int = Field(
        144,
        ge=1,
        description="Late events are added up to this many hours after their view. It must be shorter than raw events "
        "stay in the archive.",
    )
    late_file_hours: int = Field(
        12,
        ge=0,
        description="A file that the archive job commits late is still counted if it belongs to the last so many "
        "hours. Its partition is then counted again from that hour on. Slices are kept this much longer than late "
        "events are added.",
    )
    hours_at_once: int = Field(
        24,
        ge=1,
        description="How many hours of arrival a rollup counts before it publishes them and continues. A failure "
        "costs at most this work, and others wait for the lease so long.",
    )
    deadline_s: float = Field(
        4 * 3600.0,
        gt=0,
        description="A rollup, an audit or an erasure that takes longer than this gives up. The next one does what is "
        "left.",
    )
    slice_events_max: int = Field(
        2_000_000,
        ge=1,
        description="An hour of a partition is counted in slices of at most so many events. This limits the memory of "
        "a rollup, which needs about 300 bytes for each event of a slice.",
    )
    viewer_minute_max: int = Field(
        60,
        ge=0,
        description="How many views of one video and kind one viewer may have in a minute. Further ones are marked. "
        "With 0 none is. After a change the rollup marks past days again.",
    )
    viewer_day_max: int = Field(
        1000,
        ge=0,
        description="How many such views one viewer may have in a day, not counting those that viewer_minute_max has "
        "marked.",
    )


class ErasureSettings(Group):
    """Viewers who are erased from archive and history."""

    path: S3Folder = Field(
        "s3://view-counts/erasures",
        description="The folder of the list of erasures in a bucket. Analysts must not be able to read it, because it "
        "has the keys of erasures that are not finished.",
    )
