"""The numbers of the counting rules, and the resources of the count job."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from settings.durations import DAY_MS, MINUTE_MS
from settings.groups.base import Group

# These kinds and their blocked kinds take half of the lists that a shard writes for a span.
DECLARED_KINDS_MAX = 16


class CountingSettings(Group):
    """The numbers of the counting rules. A savepoint depends on some of them: read each field before you change it."""

    salts: int = Field(
        16,
        ge=1,
        le=128,
        description="The number of salts of the events topic. It never changes while the topic exists. Each salt is a "
        "branch of the expression by which Flink keys records, and more than 128 were never tested.",
    )
    shards: int = Field(
        8,
        ge=1,
        le=1024,
        description="The number of shards, the keys of the window stage. It never changes while the state exists.",
    )
    max_parallelism: int = Field(
        128,
        ge=1,
        le=32_768,
        description="The number of Flink's key groups. It never changes while the state exists.",
    )
    lateness_ms: int = Field(
        10 * MINUTE_MS,
        ge=MINUTE_MS,
        description="How long after its end a minute still takes events. It must not be raised while the state exists.",
    )
    future_skew_ms: int = Field(
        MINUTE_MS,
        ge=0,
        description="How far viewed_at may be ahead of the append time. An event that is further ahead is invalid.",
    )
    clock_ahead_ms: int = Field(
        10 * MINUTE_MS,
        ge=MINUTE_MS,
        description="The append time of a record is at most this long after its batch was made, even if the broker's "
        "record timestamp is later. It limits the harm of a broker whose clock is ahead, and must be longer than any "
        "record takes to reach Kafka.",
    )
    generation_ms: int = Field(
        12 * MINUTE_MS,
        description="The length of a generation of append time. A seen id is remembered for its generation and the "
        "next. It never changes while the state exists.",
    )
    flush_interval_ms: int = Field(
        200, ge=10, description="Processing time between two sendings of the partial counts of one salt."
    )
    emit_interval_ms: int = Field(
        500, ge=10, description="Processing time between two writes of a count that changes in an open minute."
    )
    catch_up_flush_interval_ms: int = Field(
        1000,
        ge=10,
        description="Takes the place of flush_interval_ms while the job counts events that arrived over a minute ago. "
        "It then sends fewer and larger partial counts, so that it catches up sooner.",
    )
    catch_up_emit_interval_ms: int = Field(
        15_000,
        ge=10,
        description="Takes the place of emit_interval_ms, and of rank_interval_ms if that is shorter, while the job "
        "counts events that arrived over a minute ago. It then writes less often.",
    )
    rank_interval_ms: int = Field(
        5000,
        ge=100,
        description="Processing time after which a shard ranks its videos again, for the lists of top videos.",
    )
    ranked_kinds: str = Field(
        "view,like",
        description="The kinds, at most 16 and separated by commas, that always have lists of top videos, also of "
        "their blocked views. Each shard has room for some lists more, which the most frequent of the other kinds get. "
        "It may change at every start.",
    )
    state_ttl_ms: int = Field(
        8 * DAY_MS,
        description="Flink removes dedup state that was not used for this long by the wall clock, in case a rule fails "
        "to. It must be at least kafka.retention_ms plus generation_ms.",
    )
    rows_per_element_max: int = Field(
        50_000,
        ge=1,
        description="The maximum number of rows in one element from the window stage to the sink. The sink sorts them "
        "by Cassandra partition, so with a larger number one write has more rows of a partition.",
    )

    @property
    def declared_kinds(self) -> list[str]:
        """The ranked kinds as a list."""
        return list(dict.fromkeys(kind.strip() for kind in self.ranked_kinds.split(",") if kind.strip()))

    @field_validator("ranked_kinds")
    @classmethod
    def _are_not_too_many(cls, value: str) -> str:
        kinds = [kind for kind in value.split(",") if kind.strip()]
        if len(kinds) > DECLARED_KINDS_MAX:
            raise ValueError(f"ranked_kinds={value} names {len(kinds)} kinds; name at most {DECLARED_KINDS_MAX}")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        # A repeat that is not late arrives before the end of its minute plus the lateness. The end of its minute is at
        # most the skew and a minute after the first arrival.
        least = self.lateness_ms + MINUTE_MS + max(MINUTE_MS, self.future_skew_ms)
        if self.generation_ms < least:
            raise ValueError(
                f"generation_ms={self.generation_ms} must be at least lateness_ms + 60000 + the larger of "
                f"future_skew_ms and 60000 = {least}, otherwise a repeated event could count twice; raise it"
            )
        if self.max_parallelism % self.salts:
            raise ValueError(
                f"max_parallelism={self.max_parallelism} is not a multiple of salts={self.salts}, so subtasks "
                "would get unequal numbers of salts; choose a multiple"
            )
        if self.shards > self.max_parallelism:
            raise ValueError(
                f"shards={self.shards} is more than max_parallelism={self.max_parallelism}, the number of key groups, "
                "so two shards would share one; choose fewer shards"
            )
        return self


class JobSettings(Group):
    """The parallelism and memory of the count job. They may change at every start, also from a savepoint."""

    dedup_parallelism: int | None = Field(
        None,
        ge=1,
        description="The number of subtasks of the dedup stage, a divisor of salts. If not set, it is the job's "
        "parallelism.",
    )
    window_parallelism: int | None = Field(
        None,
        ge=1,
        description="The number of subtasks of the window stage and of the sink after it, a divisor of shards. If not "
        "set, it is the job's parallelism.",
    )
    enrichment: bool = Field(
        True,
        description="Whether the job reads video metadata, writes it into the tables and sends counts to the topic "
        "view-counts.",
    )
    untitled_max: int = Field(
        20_000,
        ge=0,
        description="How many (video, kind, day) of a shard may wait for the metadata of their video. If there are "
        "more, the oldest are dropped, and get metadata when their count next changes.",
    )
    ids_bytes_max: int = Field(
        64 << 20,
        ge=1 << 20,
        description="Memory for the seen ids of a subtask of the dedup stage. Further ids are in files, which is "
        "slower and equally exact.",
    )
    blocked_bytes_max: int = Field(
        32 << 20,
        ge=1 << 20,
        description="Memory for the block list, of which each subtask of the dedup stage has a whole copy. A larger "
        "list is in a file, which is slower and equally exact.",
    )
    cells_bytes_max: int = Field(
        64 << 20,
        ge=1 << 20,
        description="Memory for the counts of a subtask of the window stage: those of open minutes and of two hours of "
        "closed ones. Further counts are in files, which is slower and equally exact.",
    )
    metadata_bytes_max: int = Field(
        32 << 20,
        ge=1 << 20,
        description="Memory of a subtask of the enrich stage: one half for video metadata, the other half for notes of "
        "what it has written. Further metadata is in a file. If there are more notes, they are dropped, so that the "
        "same metadata may be written again.",
    )
    spill_folder: str | None = Field(
        None,
        description="The folder of these files, on a disk of every machine with a TaskManager. If not set, it is "
        "Flink's temporary folder.",
    )
