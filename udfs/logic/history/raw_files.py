"""Raw events leave the archive when history counts them for good: which files, and what to say when not. Pure.

The rollup removes them, under its lease. A rule of the bucket goes by the age of a file alone, whether or not it has
been counted, and an erasure, which rewrites it, makes it young again.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from schemas.topics import SEGMENT_MS
from settings import Settings
from settings.durations import DAY_MS, HOUR_MS
from udfs.logic.history.manifest import hour_start


class Arrived(Protocol):
    """A file of the archive (udfs.stores.archive.ArchiveFile)."""

    @property
    def hour(self) -> int:
        """The hour of arrival of its records, since 1970."""


File = TypeVar("File", bound=Arrived)


def raw_files_to_remove(files: Iterable[File], now: datetime, *, kept_days: int, final_arrival_hour: int) -> list[File]:
    """Files whose records arrived before the last days, and in hours before the one that is final.

    `final_arrival_hour`: the oldest manifest that is kept has counted all hours of arrival before it for good, and no
    slice will be counted of them again, whichever manifest is restored.
    """
    kept_from = _hour_of(now, kept_days)
    return [file for file in files if file.hour < min(kept_from, final_arrival_hour)]


def overdue_raw(files: Iterable[Arrived], now: datetime, kept_days: int) -> str | None:
    """A sentence for operators when there are raw events that should have been removed a day ago."""
    due_before = _hour_of(now, kept_days + 1)
    hours = [file.hour for file in files if file.hour < due_before]
    if not hours:
        return None
    return (
        f"{len(hours)} files of raw events are older than archive.kept_days={kept_days} and a day, the oldest from "
        f"{hour_start(min(hours)):%Y-%m-%dT%H:%MZ}: rollups remove what the oldest manifest that is kept counts for "
        "good; see why they are behind"
    )


def is_ahead(file: Arrived, now: datetime) -> bool:
    """Whether a file lies in the folder of an hour that has not come, also by a clock that is a little ahead."""
    return file.hour > _hour_of(now, 0) + 1


def stamped_ahead(files: Iterable[Arrived], now: datetime) -> str | None:
    """A sentence for operators when brokers have stamped records far ahead."""
    hours = [file.hour for file in files if is_ahead(file, now)]
    if not hours:
        return None
    return (
        f"{len(hours)} files of raw events lie in folders of hours that have not come, the last of "
        f"{hour_start(max(hours)):%Y-%m-%dT%H:%MZ}: a broker has stamped records so far ahead. They are counted by the "
        "time at which they were made; see to the brokers' clocks and to the topic's message.timestamp.type"
    )


def leftover_rules(rules: Iterable[Mapping[str, Any]], bucket: str, folders: Sequence[str]) -> list[str]:
    """A sentence for each of a bucket's lifecycle rules, as S3 has them, by which objects in these folders expire."""
    found = []
    for rule in rules:
        expiration = rule.get("Expiration", {})
        within = rule.get("Filter", {})
        prefix = rule.get("Prefix") or within.get("Prefix") or within.get("And", {}).get("Prefix") or ""
        touched = [folder for folder in folders if f"{folder}/".startswith(prefix) or prefix.startswith(f"{folder}/")]
        if rule.get("Status") == "Enabled" and ("Days" in expiration or "Date" in expiration) and touched:
            when = f"after {expiration['Days']} days" if "Days" in expiration else f"from {expiration['Date']} on"
            found.append(
                f"bucket {bucket} has a lifecycle rule {rule.get('ID', 'without a name')!r} by which objects below "
                f"{prefix!r} expire {when}, counted or not, those of {' and '.join(touched)} among them: delete the "
                "rule; the rollup removes raw events itself"
            )
    return found


def upload_days(settings: Settings) -> int:
    """After how many days an upload that was never completed can be given up.

    A job that is restored completes those of its checkpoint: of a checkpoint so old, Kafka no longer has what follows.
    """
    days = -(-(settings.kafka.retention_ms + SEGMENT_MS) // DAY_MS)
    return max(settings.archive.kept_days, days)


def _hour_of(now: datetime, days: int) -> int:
    """The hour so many days ago: those before it ended then, or earlier."""
    return (round(now.astimezone(UTC).timestamp() * 1000) - days * DAY_MS) // HOUR_MS
