"""The settings model: one field for each setting, with its unit, default and meaning. It is validated as a whole.

Settings are read from the environment as VIEW_COUNTS_<GROUP>_<FIELD>, for example VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS.
This module must not import pyflink, so that services and tools can read settings without a JVM.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from settings.durations import DAY_MS, MINUTE_MS

Port = Annotated[int, Field(ge=1, le=65_535)]
S3Folder = Annotated[str, Field(pattern=r"^s3://[^/]+/.+[^/]$")]
HostList = Annotated[str, NoDecode, Field(min_length=1)]
# These kinds and their blocked kinds take half of the lists that a shard writes for a span.
DECLARED_KINDS_MAX = 16


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CountingSettings(_Group):
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


class JobSettings(_Group):
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


class KafkaSettings(_Group):
    """The address of Kafka and the names of its topics."""

    bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=1, description="Brokers as host:port, separated by commas."
    )
    events_topic: str = Field("view-events", description="The topic of batches of events, keyed by salt.")
    late_topic: str = Field("view-events-late", description="The topic of late events, with their origin.")
    dead_letter_topic: str = Field(
        "view-events-dead-letter", description="The topic of dead letters: what could not be counted, and why."
    )
    metadata_topic: str = Field("video-metadata", description="The compacted topic of video metadata.")
    blocked_topic: str = Field(
        "blocked-viewers", description="The compacted topic of the block list: when views of a viewer do not count."
    )
    counts_topic: str = Field(
        "view-counts", description="The topic of counts as they change, with the metadata of their videos."
    )
    declaration_topic: str = Field(
        "view-counts-declaration",
        description="The compacted topic that says how many salts and partitions the events topic has. All processes "
        "compare their settings with it.",
    )
    partitions: int = Field(
        4, ge=1, description="The number of partitions of the events topic. Each salt belongs to one of them."
    )
    replication_factor: int = Field(1, ge=1, description="The number of replicas of each topic: 3 on a cluster.")
    retention_ms: int = Field(7 * DAY_MS, ge=MINUTE_MS, description="The retention of the events topic.")
    counts_retention_ms: int = Field(DAY_MS, ge=MINUTE_MS, description="The retention of the topic view-counts.")


class PackSettings(_Group):
    """The job that packs a topic of single events. All of it but the topic may change at every start."""

    source_topic: str = Field("single-view-events", description="The topic to pack, with one event in each record.")
    framing: Literal["json", "plain", "single_object", "confluent"] = Field(
        "json",
        description="The encoding of a record: JSON, Avro without a header (plain), or Avro after one of two headers.",
    )
    schema_file: str | None = Field(
        None,
        description="The Avro schema with which records were written. If not set, it is ViewEvent.v1. With "
        "framing=single_object there may be several, separated by commas. With framing=confluent each is given as "
        "number=file, such as 7=/schemas/play.avsc,8=ViewEvent.v1. Records of any other schema are dead letters.",
    )
    unknown_fields: Literal["ignored", "misspelt_refused", "refused"] = Field(
        "misspelt_refused",
        description="What happens to unknown fields of an event: ignored leaves all of them out, misspelt_refused "
        "refuses events in which one looks like a misspelt field (viewedAt), refused refuses events that have any.",
    )
    heartbeats: bool = Field(
        True,
        description="Whether the job sends a heartbeat for each salt every second. Without heartbeats, from the job or "
        "from an ingest process, minutes do not close while no events come.",
    )
    batch_events_max: int = Field(
        2000, ge=1, le=100_000, description="The maximum number of events in one record of the events topic."
    )
    records_at_once: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="How many records the job reads before it packs them, over all salts. With more of them, batches "
        "are fuller.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.framing == "json" and self.schema_file is not None:
            raise ValueError(f"schema_file={self.schema_file} has no meaning for framing=json; choose an Avro framing")
        if self.framing == "confluent" and self.schema_file is None:
            raise ValueError(
                "schema_file is not set, and framing=confluent needs the number of each schema that records may have: "
                "set it to number=file, separated by commas, with ViewEvent.v1 as the file of the product's own schema"
            )
        for number, file in self.schema_files:
            if (number is None) == (self.framing == "confluent") or not file:
                raise ValueError(
                    f"schema_file={self.schema_file}: {file or 'nothing'} is named "
                    f"{'without' if number is None else 'with'} a number, or has no file; use number=file with "
                    "framing=confluent, and files alone with the other framings"
                )
        return self

    @property
    def schema_files(self) -> list[tuple[int | None, str]]:
        """(number, file) of each schema that is named; a file without a number has None."""
        found: list[tuple[int | None, str]] = []
        for entry in (self.schema_file or "").split(",") if self.schema_file else []:
            number, sign, file = entry.strip().partition("=")
            if sign and number.isascii() and number.isdigit() and int(number) < 1 << 32:
                found.append((int(number), file.strip()))
            else:
                found.append((None, entry.strip()))
        return found


class S3Settings(_Group):
    """The object store for this product's Python code. Flink has settings of its own for it, s3.*."""

    endpoint: str | None = Field(None, description="The URL of the store, if it is not AWS S3.")
    region: str = Field("us-east-1", min_length=1, description="The region of the store.")
    access_key: str | None = Field(
        None,
        description="The access key. Set it together with secret_key; if neither is set, the credentials of the "
        "environment are used.",
    )
    secret_key: SecretStr | None = Field(None, description="The secret key. Set it together with access_key.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.access_key is None) != (self.secret_key is None):
            missing = "secret_key" if self.secret_key is None else "access_key"
            raise ValueError(f"s3.{missing} is not set and the other key is; set both or none")
        return self


class ArchiveSettings(_Group):
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


class HistorySettings(_Group):
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


class ErasureSettings(_Group):
    """Viewers who are erased from archive and history."""

    path: S3Folder = Field(
        "s3://view-counts/erasures",
        description="The folder of the list of erasures in a bucket. Analysts must not be able to read it, because it "
        "has the keys of erasures that are not finished.",
    )


class CassandraSettings(_Group):
    """The address of Cassandra, and the limits of writes to it."""

    hosts: HostList = Field("127.0.0.1", description="Contact points, separated by commas.")
    port: Port = 9042
    keyspace: str = Field("view_counts", pattern=r"^[a-z][a-z0-9_]{0,47}$")
    local_dc: str = Field("datacenter1", description="The data centre to which requests go first.")
    replication_factor: int = Field(1, ge=1, description="The number of replicas of each row: 3 on a cluster.")
    batch_rows_max: int = Field(
        200,
        ge=1,
        le=500,
        description="The maximum number of rows of one unlogged CQL batch, which are sorted by partition. 200 rows are "
        "about 15 KB.",
    )
    batch_partitions_max: int = Field(
        20,
        ge=1,
        le=500,
        description="The maximum number of partitions of one CQL batch. Cassandra applies them one after the other, "
        "and each waits for the commit log, so a batch of many partitions with a single row each is slow.",
    )
    batch_bytes_max: int = Field(
        32 << 10,
        ge=8 << 10,
        le=32 << 10,
        description="The maximum size of one CQL batch as it is sent. Cassandra adds a little to each row, and refuses "
        "batches above its batch_size_fail_threshold, which is 50 KiB unless set. Lower this if yours is lower.",
    )
    concurrency: int = Field(
        16, ge=1, le=256, description="How many CQL batches of one sink subtask are in flight at a time."
    )
    request_timeout_s: float = Field(
        10.0, gt=0, description="How long one request may take. It is tried again after a time-out."
    )

    @property
    def contact_points(self) -> list[str]:
        """The hosts as a list."""
        return [host.strip() for host in self.hosts.split(",") if host.strip()]


class IngestSettings(_Group):
    """The HTTP ingest service."""

    host: str = "127.0.0.1"
    port: Port = 8080
    linger_ms: int = Field(50, ge=0, description="How long an event waits for other events of its salt.")
    batch_events_max: int = Field(
        2000, ge=1, le=100_000, description="The maximum number of events in one Kafka record."
    )
    body_bytes_max: int = Field(
        8 << 20, ge=1024, description="The maximum size of a request's body. A larger one is answered with 413."
    )
    events_in_flight_max: int = Field(
        500_000,
        ge=1,
        description="How many accepted events may wait for Kafka to acknowledge them. If there are more, requests are "
        "answered with 429.",
    )
    delivery_timeout_ms: int = Field(
        30_000, ge=1000, description="The write of an event fails if Kafka does not acknowledge it within this time."
    )
    heartbeat_ms: int = Field(1000, ge=100, description="How often a salt without events gets a heartbeat.")
    topics_check_s: float = Field(
        30.0, gt=0, description="How often the service checks that Kafka's topics are still as the product needs them."
    )
    past_margin_ms: int = Field(
        DAY_MS,
        ge=0,
        description="An event is rejected if it was viewed longer ago than history.late_hours plus this, by the "
        "service's own clock, because nothing would count it.",
    )
    future_margin_ms: int = Field(
        10 * MINUTE_MS,
        ge=0,
        description="An event is rejected if it was viewed further ahead than counting.future_skew_ms plus this, by "
        "the service's own clock. The clocks of services and brokers must differ by less.",
    )
    keep_alive_s: int = Field(
        75,
        ge=1,
        description="How long an idle connection stays open. It must be longer than a load balancer keeps its own.",
    )
    tally_minutes: int = Field(
        180, ge=1, le=10_000, description="For how many minutes of arrival the service keeps its own tally."
    )


class QuerySettings(_Group):
    """The HTTP query service."""

    host: str = "127.0.0.1"
    port: Port = 8090
    minutes_kept_days: int = Field(
        8,
        ge=2,
        description="The time to live of the table views_by_minute, which must be that of schemas/cql. The service "
        "reads older minutes from history, beginning a day before they expire.",
    )
    hours_kept_days: int = Field(
        100,
        ge=2,
        description="The time to live of the table views_by_hour. The service reads older hours from history, "
        "beginning a day before they expire.",
    )
    keep_alive_s: int = Field(
        75,
        ge=1,
        description="How long an idle connection stays open. It must be longer than a load balancer keeps its own.",
    )
    points_max: int = Field(
        50_000,
        ge=1,
        description="The maximum number of points in one answer; for days of a time zone, the number of their hours.",
    )
    history_files_max: int = Field(
        2000,
        ge=1,
        description="From how many files of history one answer may be read. At first each hour is a file of its own.",
    )
    history_timeout_s: float = Field(
        5.0,
        gt=0,
        description="How long one request to the object store may take. If a few of them fail, the answer is 503.",
    )


class Settings(BaseSettings):
    """All settings, read from the environment. Raises pydantic.ValidationError with field, value and rule."""

    model_config = SettingsConfigDict(
        env_prefix="VIEW_COUNTS_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        frozen=True,
        extra="ignore",
    )

    counting: CountingSettings = CountingSettings()
    job: JobSettings = JobSettings()
    kafka: KafkaSettings = KafkaSettings()
    pack: PackSettings = PackSettings()
    s3: S3Settings = S3Settings()
    archive: ArchiveSettings = ArchiveSettings()
    history: HistorySettings = HistorySettings()
    erasure: ErasureSettings = ErasureSettings()
    cassandra: CassandraSettings = CassandraSettings()
    ingest: IngestSettings = IngestSettings()
    query: QuerySettings = QuerySettings()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.counting.salts % self.kafka.partitions:
            raise ValueError(
                f"kafka.partitions={self.kafka.partitions} does not divide counting.salts={self.counting.salts}, "
                "so partitions would get unequal numbers of salts; choose a divisor"
            )
        for name, parallelism, keys_name, keys in (
            ("dedup_parallelism", self.job.dedup_parallelism, "salts", self.counting.salts),
            ("window_parallelism", self.job.window_parallelism, "shards", self.counting.shards),
        ):
            if parallelism is not None and keys % parallelism:
                raise ValueError(
                    f"job.{name}={parallelism} does not divide counting.{keys_name}={keys}, so subtasks would get "
                    f"unequal numbers of {keys_name}; choose a divisor"
                )
        for name, path in (("archive", self.archive.path), ("history", self.history.path)):
            if f"{self.erasure.path}/".startswith(f"{path}/"):
                raise ValueError(
                    f"erasure.path={self.erasure.path} is inside {name}.path={path}, so readers of that folder would "
                    "find the list of erasures; choose another folder"
                )
        reach = self.history.late_hours + self.history.late_file_hours
        if self.archive.kept_days * 24 <= reach:
            raise ValueError(
                f"archive.kept_days={self.archive.kept_days} is {self.archive.kept_days * 24} hours, not longer than "
                f"history.late_hours + history.late_file_hours = {reach}: raw events would be removed while their hour "
                "may still have to be counted again; raise archive.kept_days, or lower one of the other two"
            )
        least = self.ingest.delivery_timeout_ms + self.counting.future_skew_ms
        if self.counting.clock_ahead_ms < least:
            raise ValueError(
                f"counting.clock_ahead_ms={self.counting.clock_ahead_ms} is less than ingest.delivery_timeout_ms + "
                f"counting.future_skew_ms = {least}: the broker's timestamp of a record that took so long to reach "
                "Kafka would be corrected, though it is right; raise it"
            )
        least = self.kafka.retention_ms + self.counting.generation_ms
        if self.counting.state_ttl_ms < least:
            raise ValueError(
                f"counting.state_ttl_ms={self.counting.state_ttl_ms} is shorter than kafka.retention_ms + "
                f"generation_ms = {least}: Flink could remove seen ids while Kafka still has repeats of them; raise it"
            )
        return self
