"""Which settings a job's state and history mean something by, and how each may change. The one list of them.

State and history say by name and value what they were made by (udfs.logic.stream.kept_settings compares), so that a
restore or a rollup under others is refused with a sentence. A setting that is named in neither list may change with
every start.
"""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel

from settings.model import Settings

Value = int | str


class Change(StrEnum):
    """How a setting may change while what was made by it is there."""

    FIXED = "fixed"
    MAY_FALL = "may only fall"
    ASKED = "may change when that is asked for"


# Of the count job's state. Keys are of salts, shards and max_parallelism; ids are remembered by generation; a minute
# that has closed takes no events, so that it must not close later; topics and partitions are the source's, and the
# block list's places are those of its topic.
OF_STATE: Mapping[str, Change] = {
    "counting.salts": Change.FIXED,
    "counting.shards": Change.FIXED,
    "counting.max_parallelism": Change.FIXED,
    "counting.generation_ms": Change.FIXED,
    "counting.lateness_ms": Change.MAY_FALL,
    "counting.clock_ahead_ms": Change.ASKED,
    "kafka.events_topic": Change.FIXED,
    "kafka.partitions": Change.FIXED,
    "kafka.metadata_topic": Change.FIXED,
    "kafka.blocked_topic": Change.FIXED,
}
# Of history. Slices hand dedup's memory on, files are by shard; another archive may lack what was counted, another list
# of erasures whom it must not show. Which topic it is of, Kafka's own id of it says; path and keyspace are the
# register's.
OF_HISTORY: Mapping[str, Change] = {
    "counting.salts": Change.FIXED,
    "counting.shards": Change.FIXED,
    "counting.generation_ms": Change.FIXED,
    "counting.lateness_ms": Change.MAY_FALL,
    "counting.clock_ahead_ms": Change.ASKED,
    "kafka.partitions": Change.FIXED,
    "archive.path": Change.ASKED,
    "erasure.path": Change.ASKED,
}
# By group, those that may change with every start; a group that is not named is free as a whole.
FREE: Mapping[str, frozenset[str]] = {
    "counting": frozenset(
        {
            # An id counted under one skew is a repeat under another: the generation bounds both.
            "future_skew_ms", "flush_interval_ms", "emit_interval_ms", "catch_up_flush_interval_ms",
            "catch_up_emit_interval_ms", "rank_interval_ms", "ranked_kinds", "state_ttl_ms", "rows_per_element_max",
        }
    ),
    "kafka": frozenset(
        {
            "bootstrap_servers", "late_topic", "dead_letter_topic", "counts_topic", "declaration_topic",
            "replication_factor", "retention_ms", "counts_retention_ms",
        }
    ),
    "archive": frozenset({"roll_ms", "codec", "kept_days"}),
    "history": frozenset(
        {
            # The register holds it.
            "path",
            # What is forgotten stays so, also when these are raised.
            "late_hours", "late_file_hours",
            "hours_at_once", "deadline_s", "slice_events_max",
            # Days are marked again.
            "viewer_minute_max", "viewer_day_max",
        }
    ),
    "erasure": frozenset(),
    # The register holds the keyspace; Flink itself refuses state of a part that is not there.
    "cassandra": frozenset(
        {
            "hosts", "port", "keyspace", "local_dc", "replication_factor", "batch_rows_max",
            "batch_partitions_max", "batch_bytes_max",
            "concurrency", "request_timeout_s",
        }
    ),
    "job": frozenset(
        {
            "dedup_parallelism", "window_parallelism", "enrichment", "untitled_max",
            # Where a table lies decides nothing.
            "ids_bytes_max", "blocked_bytes_max", "cells_bytes_max", "metadata_bytes_max", "spill_folder",
        }
    ),
}  # fmt: skip


def values_of(settings: Settings, changes: Mapping[str, Change]) -> dict[str, Value]:
    """By name what these settings are."""
    found: dict[str, Value] = {}
    for name in changes:
        group, field = name.split(".")
        found[name] = getattr(getattr(settings, group), field)
    return found


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"VIEW_COUNTS_{name.replace('.', '_')}".upper()


def groups() -> dict[str, type[BaseModel]]:
    """The model of each group of settings."""
    return {name: type(getattr(Settings(), name)) for name in Settings.model_fields}
