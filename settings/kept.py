"""The settings on which Flink's state and history depend, and how each of them may change. This is the only list.

State and history hold the names and values of the settings with which they were made. A restore or a rollup with other
settings is refused with an error text (udfs.logic.stream.kept_settings). A setting that is in neither list may change
at every start.
"""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel

from settings.model import Settings

Value = int | str


class Change(StrEnum):
    """How a setting may change as long as state or history that was made with it exists."""

    FIXED = "fixed"
    MAY_FALL = "may only fall"
    ASKED = "may change when that is asked for"


# The settings on which the count job's state depends. Its keys are made from salts, shards and max_parallelism. It
# keeps seen ids by generation. A minute that has closed takes no events, so it must not close later under a new
# setting. The source keeps offsets by topic and partition, and the block list keeps offsets of its topic.
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
# The settings on which history depends. Each slice needs the seen ids of the one before, and files are divided by
# shard. Another archive may lack what was counted, and another list of erasures may lack viewers who were erased. The
# topic is not in the list because history checks Kafka's id of it. Path and keyspace are not in it because the register
# checks them.
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
# The settings that may change at every start, by group. All settings of a group that is not named may change.
FREE: Mapping[str, frozenset[str]] = {
    "counting": frozenset(
        {
            # An event counted under one skew is still recognised under another: generation_ms limits both.
            "future_skew_ms", "flush_interval_ms", "emit_interval_ms", "catch_up_flush_interval_ms",
            "catch_up_emit_interval_ms", "rank_interval_ms", "ranked_kinds", "state_ttl_ms", "rows_per_element_max",
        }
    ),
    "kafka": frozenset(
        {
            "bootstrap_servers", "security_protocol", "sasl_mechanism", "username", "password_file", "token_url",
            "client_id", "client_secret_file", "token_scope", "ca_file", "certificate_file", "key_file",
            "late_topic", "dead_letter_topic", "diverted_topic", "counts_topic", "declaration_topic",
            "replication_factor", "retention_ms", "counts_retention_ms", "rejected_bytes_max",
        }
    ),
    "archive": frozenset({"roll_ms", "codec", "kept_days"}),
    "history": frozenset(
        {
            # The register checks it.
            "path",
            # What was removed is not made again if these are raised.
            "late_hours", "late_file_hours",
            "hours_at_once", "deadline_s", "slice_events_max",
            # After a change, the rollup marks days again.
            "viewer_minute_max", "viewer_day_max",
        }
    ),
    "erasure": frozenset(),
    # The register checks the keyspace.
    "cassandra": frozenset(
        {
            "username", "password_file", "tls", "ca_file", "certificate_file", "key_file", "tls_names",
            "hosts", "port", "keyspace", "local_dc", "replication_factor", "batch_rows_max",
            "batch_partitions_max", "batch_bytes_max",
            "concurrency", "request_timeout_s",
        }
    ),
    "job": frozenset(
        {
            # Flink itself refuses state of an operator that is not in the graph, such as that of enrichment.
            "dedup_parallelism", "window_parallelism", "enrichment", "untitled_max",
            # No count depends on whether a table is in memory or in a file.
            "ids_bytes_max", "blocked_bytes_max", "cells_bytes_max", "metadata_bytes_max", "spill_folder",
        }
    ),
}  # fmt: skip


def values_of(settings: Settings, changes: Mapping[str, Change]) -> dict[str, Value]:
    """The values of the settings that `changes` lists, by name (GROUP.FIELD)."""
    found: dict[str, Value] = {}
    for name in changes:
        group, field = name.split(".")
        found[name] = getattr(getattr(settings, group), field)
    return found


def variable(name: str) -> str:
    """The environment variable of a setting, which is given as GROUP.FIELD."""
    return f"VIEW_COUNTS_{name.replace('.', '_')}".upper()


def groups() -> dict[str, type[BaseModel]]:
    """The model of each group of settings."""
    return {name: type(getattr(Settings(), name)) for name in Settings.model_fields}
