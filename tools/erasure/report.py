"""Reports what an erasure did, and where something of the viewers remains, for people and for programs."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from schemas.topics import topics
from settings import Settings
from settings.durations import DAY_MS
from udfs.logic.erasure.erasures import Erasure
from udfs.logic.history.raw_files import upload_days

# Kafka's default of segment.ms, for topics that do not set it.
KAFKA_SEGMENT_MS = 7 * DAY_MS


class Viewer(msgspec.Struct, frozen=True):
    """One viewer, by hash: what this run rewrote, and until when the key is kept. None means that it is deleted."""

    viewer: str
    files: int
    events: int
    rows: int
    blocked: bool
    key_until: datetime | None


class Remains(msgspec.Struct, frozen=True):
    """Where something of the viewers remains, what it is, and until when. None means until somebody removes it."""

    where: str
    what: str
    until: datetime | None


class Report(msgspec.Struct, frozen=True):
    """The report. Files are those of the archive. `records_emptied` are unreadable records that contained an id."""

    dry_run: bool
    viewers: list[Viewer]
    passes: int
    files_scanned: int
    files_rewritten: int
    records_emptied: int
    slices_scanned: int
    slices_rewritten: int
    remains: list[Remains]


def remains(
    settings: Settings, erasures: Iterable[Erasure], now: datetime, listed: bool, source_kept_ms: int | None
) -> list[Remains]:
    """What an erasure cannot reach. `listed` says whether the viewer_id of one of the viewers is on the block list.

    `source_kept_ms` is how long the source topic of the pack job keeps a record: -1 for good, None if there is no such
    topic.
    """
    kafka = settings.kafka
    what = {
        kafka.events_topic: "events as they came",
        kafka.late_topic: "events that came late",
        kafka.dead_letter_topic: "events and records that could not be counted",
        kafka.diverted_topic: "events of diverted keys",
    }
    found = [
        Remains(
            f"Kafka topic {topic.name}",
            what[topic.name],
            now
            + timedelta(
                milliseconds=int(topic.config["retention.ms"]) + int(topic.config.get("segment.ms", KAFKA_SEGMENT_MS))
            ),
        )
        for topic in topics(settings)
        if topic.name in what
    ]
    if source_kept_ms is not None:
        until = None if source_kept_ms < 0 else now + timedelta(milliseconds=source_kept_ms)
        found.append(
            Remains(f"Kafka topic {settings.pack.source_topic}", "events as other producers wrote them", until)
        )
    if listed:
        ends = [one.closes_at for one in erasures if one.unlist]
        found.append(
            Remains(f"Kafka topic {kafka.blocked_topic}", "the viewer_id and its periods", max(ends, default=None))
        )
    # An older event would not be counted: ingest and clients refuse it, and a drainer takes its viewer_id.
    late = timedelta(hours=settings.history.late_hours)
    if settings.overflow.path:
        found.append(Remains(settings.overflow.path, "events that wait for Kafka", now + late))
    margin = timedelta(milliseconds=settings.ingest.past_margin_ms)
    found.append(Remains("clients' spools", "events that were viewed and not sent yet", now + late + margin))
    found += [
        Remains(
            settings.erasure.path, "the key of the pseudonyms", max((one.closes_at for one in erasures), default=None)
        ),
        Remains(
            settings.erasure.path, "the hash of the viewer_id, so that it can be erased from what is restored", None
        ),
        # Unfinished uploads may have raw events or viewers of slices. A rule of the bucket, or the local stack, aborts
        # them.
        Remains(
            f"{settings.archive.path}, {settings.history.path}",
            "uploads that were never completed, where the bucket aborts those",
            now + timedelta(days=upload_days(settings)),
        ),
        Remains(
            f"{settings.archive.path}, {settings.history.path}", "older versions, where the bucket keeps them", None
        ),
    ]
    return found


def as_text(report: Report) -> str:
    """The report for people, in lines."""
    if not report.viewers:
        return "no erasure is open"
    would = "would be " if report.dry_run else ""
    lines = [
        f"archive: {report.files_scanned} files read, {report.files_rewritten} {would}rewritten",
        f"slices:  {report.slices_scanned} read, {report.slices_rewritten} {would}rewritten",
    ]
    if report.records_emptied:
        lines.append(f"records: {report.records_emptied} could not be read, held an id and {would or 'were '}emptied")
    if not report.dry_run:
        lines.append(f"passes:  {report.passes}, the last of which found none of them")
    for one in report.viewers:
        found = (
            f"{one.events} events in {one.files} files, {one.rows} rows of slices"
            if one.files or one.rows
            else "nothing found"
        )
        blocked = ", with one pseudonym, since the viewer is on the block list" if one.blocked else ""
        key = (
            "the key is deleted" if one.key_until is None else f"the key stays until {one.key_until:%Y-%m-%dT%H:%M:%SZ}"
        )
        lines.append(f"viewer {one.viewer}: {found}{blocked}; {key}")
    lines.append("what remains:")
    for left in report.remains:
        until = "until somebody removes it" if left.until is None else f"until {left.until:%Y-%m-%dT%H:%M:%SZ}"
        lines.append(f"  {left.where}: {left.what}, {until}")
    return "\n".join(lines)
