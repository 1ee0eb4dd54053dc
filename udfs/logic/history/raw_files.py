"""Decides which files of the archive can be removed, and what to tell operators about files that cannot.

The rollup removes raw events, under its lease, when history has counted them for good. A lifecycle rule of the bucket
could not do that: it only knows a file's age, not whether it has been counted, and an erasure, which rewrites files,
makes them young again.
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
        """The hour of arrival of its records, in hours since 1970."""


File = TypeVar("File", bound=Arrived)


def raw_files_to_remove(files: Iterable[File], now: datetime, *, kept_days: int, final_arrival_hour: int) -> list[File]:
    """Return the files whose records arrived more than `kept_days` ago, and before `final_arrival_hour`.

    All kept manifests have counted the hours of arrival before `final_arrival_hour` for good, so that no slice of them
    will be counted again, whichever manifest is restored.
    """
    kept_from = _hour_of(now, kept_days)
    return [file for file in files if file.hour < min(kept_from, final_arrival_hour)]


def overdue_raw(files: Iterable[Arrived], now: datetime, kept_days: int) -> str | None:
    """Return a sentence for operators if there are files that should have been removed a day ago, otherwise None."""
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
    """Return whether a file lies in the folder of an hour that has not come, even by a clock that is a bit ahead."""
    return file.hour > _hour_of(now, 0) + 1


def stamped_ahead(files: Iterable[Arrived], now: datetime) -> str | None:
    """Return a sentence for operators if brokers have given records timestamps that are far ahead, otherwise None."""
    hours = [file.hour for file in files if is_ahead(file, now)]
    if not hours:
        return None
    return (
        f"{len(hours)} files of raw events lie in folders of hours that have not come, the last of "
        f"{hour_start(max(hours)):%Y-%m-%dT%H:%MZ}: a broker has stamped records so far ahead. They are counted by the "
        "time at which they were made; check the brokers' clocks and the topic's message.timestamp.type"
    )


def leftover_rules(rules: Iterable[Mapping[str, Any]], bucket: str, folders: Sequence[str]) -> list[str]:
    """Return a sentence for each lifecycle rule of a bucket (in S3's form) by which objects in these folders expire."""
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
    """Return after how many days an upload that was never completed can be aborted.

    A restored job completes the uploads of its checkpoint. From a checkpoint that is older than this, no job can be
    restored, because Kafka no longer has the records that follow it.
    """
    days = -(-(settings.kafka.retention_ms + SEGMENT_MS) // DAY_MS)
    return max(settings.archive.kept_days, days)


def _hour_of(now: datetime, days: int) -> int:
    """Return the hour in which the time so many days ago lies."""
    return (round(now.astimezone(UTC).timestamp() * 1000) - days * DAY_MS) // HOUR_MS
