"""Every operator uid of every job. Never change or remove one: a savepoint finds an operator's state by its uid."""

from enum import StrEnum


class ViewCountsUid(StrEnum):
    """Operators of jobs.view_counts."""

    EVENTS_SOURCE = "view-counts-events-source"
    DEDUP = "view-counts-dedup"
    WINDOW = "view-counts-window"
    CASSANDRA_SINK = "view-counts-cassandra-sink"
    LATE_SINK = "view-counts-late-sink"
    DEAD_LETTER_SINK = "view-counts-dead-letter-sink"
    END = "view-counts-end"
    METADATA_SOURCE = "view-counts-metadata-source"
    METADATA = "view-counts-metadata"
    METADATA_DEAD_LETTER_SINK = "view-counts-metadata-dead-letter-sink"
    ENRICH = "view-counts-enrich"
    BLOCKED_SOURCE = "view-counts-blocked-source"
    BLOCKED = "view-counts-blocked"
    BLOCKED_DEAD_LETTER_SINK = "view-counts-blocked-dead-letter-sink"


class PackEventsUid(StrEnum):
    """Operators of jobs.pack_events."""

    SOURCE = "pack-events-source"
    END = "pack-events-end"
    TICKS = "pack-events-ticks"
    HEARTBEATS_END = "pack-events-heartbeats-end"


class BatchUid(StrEnum):
    """The last operators of batch jobs. Batch jobs keep no state in Flink: it is in the object store and Cassandra."""

    ROLLUP_END = "rollup-end"
    AUDIT_END = "audit-end"
