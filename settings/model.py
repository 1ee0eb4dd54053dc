"""The settings model: one field per knob, with unit, default and meaning, validated as a whole.

Read from the environment as VIEW_COUNTS_<GROUP>_<FIELD>, for example VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS.
Must not import pyflink, so that services and tools can read settings without a JVM.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from settings.durations import DAY_MS, MINUTE_MS

Port = Annotated[int, Field(ge=1, le=65_535)]
S3Folder = Annotated[str, Field(pattern=r"^s3://[^/]+/.+[^/]$")]
HostList = Annotated[str, NoDecode, Field(min_length=1)]
# With their blocked ones half of the lists that a shard writes for a span.
DECLARED_KINDS_MAX = 16


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CountingSettings(_Group):
    """The counting rules' numbers. Part of what a savepoint means: see each field before changing it."""

    salts: int = Field(
        16,
        ge=1,
        le=128,
        description="Salts of the topic; fixed for the topic's life. Each is a branch of the expression by which Flink "
        "keys records, and more than 128 were never run.",
    )
    shards: int = Field(8, ge=1, le=1024, description="Keys of the window stage; fixed for a state's life.")
    max_parallelism: int = Field(128, ge=1, le=32_768, description="Flink key groups; fixed for a state's life.")
    lateness_ms: int = Field(
        10 * MINUTE_MS,
        ge=MINUTE_MS,
        description="How long after its end a minute still takes events; never raised in a state's life.",
    )
    future_skew_ms: int = Field(
        MINUTE_MS,
        ge=0,
        description="How far viewed_at may lie ahead of the append time before it is invalid.",
    )
    clock_ahead_ms: int = Field(
        10 * MINUTE_MS,
        ge=MINUTE_MS,
        description="A record's time is at most so long after its batch was made, whatever the broker's stamp says: "
        "what a broker's clock far ahead can do; longer than a record is ever under way.",
    )
    generation_ms: int = Field(
        12 * MINUTE_MS,
        description="G: an id is remembered for this generation of append time and the next; fixed for a state's life.",
    )
    flush_interval_ms: int = Field(200, ge=10, description="Processing time between merged partials of one salt.")
    emit_interval_ms: int = Field(500, ge=10, description="Processing time between two writes of a changed, open cell.")
    catch_up_flush_interval_ms: int = Field(
        1000,
        ge=10,
        description="In place of flush_interval_ms while what is counted arrived over a minute ago: fewer, fuller "
        "partials, so that a backlog ends sooner.",
    )
    catch_up_emit_interval_ms: int = Field(
        15_000,
        ge=10,
        description="In place of emit_interval_ms, and the least rank_interval_ms, while what is counted arrived over "
        "a minute ago: fewer writes.",
    )
    rank_interval_ms: int = Field(
        5000, ge=100, description="Processing time between two rankings of a shard, for the lists of top videos."
    )
    ranked_kinds: str = Field(
        "view,like",
        description="Kinds that always have lists of top videos, with those of their blocked views, comma separated, "
        "16 at most. Other kinds share the room that is left in each shard for the most frequent. May change with "
        "every start.",
    )
    state_ttl_ms: int = Field(
        8 * DAY_MS,
        description="Wall-clock safety net on dedup state; longer than Kafka's retention plus G.",
    )
    rows_per_element_max: int = Field(
        50_000,
        ge=1,
        description="Rows in one element from the window stage to the sink, which sorts them by partition: the more, "
        "the more rows of a partition are one write.",
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
        # A repeat that is not late comes before its minute's end + lateness, and that end lies at most the skew and a
        # minute after the first arrival.
        least = self.lateness_ms + MINUTE_MS + max(MINUTE_MS, self.future_skew_ms)
        if self.generation_ms < least:
            raise ValueError(
                f"generation_ms={self.generation_ms} must be at least lateness_ms + 60000 + the larger of "
                f"future_skew_ms and 60000 = {least}, or an unchanged repeat could count twice; raise it"
            )
        if self.max_parallelism % self.salts:
            raise ValueError(
                f"max_parallelism={self.max_parallelism} is not a multiple of salts={self.salts}, so subtasks "
                "would get unequal shares; choose a multiple"
            )
        if self.shards > self.max_parallelism:
            raise ValueError(
                f"shards={self.shards} are more than max_parallelism={self.max_parallelism} key groups, so two shards "
                "would share one; choose fewer shards"
            )
        return self


class JobSettings(_Group):
    """How the count job is laid out on the cluster. May change with every start, also from a savepoint."""

    dedup_parallelism: int | None = Field(
        None, ge=1, description="Subtasks of dedup, a divisor of salts; the job's parallelism when not set."
    )
    window_parallelism: int | None = Field(
        None,
        ge=1,
        description="Subtasks of the windows and of the sink in them, a divisor of shards; the job's parallelism when "
        "not set.",
    )
    enrichment: bool = Field(
        True,
        description="Whether the job reads what is known of videos, titles tables with it and writes view-counts.",
    )
    untitled_max: int = Field(
        20_000,
        ge=0,
        description="Of each shard, the (video, kind, day) that wait for something to be known of their video; the "
        "oldest make room, and are titled when they next change.",
    )
    ids_bytes_max: int = Field(
        64 << 20,
        ge=1 << 20,
        description="Of ids that a subtask of dedup remembers, so much is in memory; the rest is in files: slower, "
        "and as exact.",
    )
    blocked_bytes_max: int = Field(
        32 << 20,
        ge=1 << 20,
        description="Of the block list, which each subtask of dedup holds whole, so much is in memory; beyond that it "
        "is in a file: slower, and as exact.",
    )
    cells_bytes_max: int = Field(
        64 << 20,
        ge=1 << 20,
        description="Of counts that a subtask of the windows holds, of open minutes and of two hours of closed ones, "
        "so much is in memory; the rest is in files: slower, and as exact.",
    )
    metadata_bytes_max: int = Field(
        32 << 20,
        ge=1 << 20,
        description="Of what a subtask of enrich knows of videos, and of what it has titled, so much is in memory; the "
        "rest of the first is in a file, and the second is forgotten, so that it is titled once more.",
    )
    spill_folder: str | None = Field(
        None,
        description="Where these files are, on every machine with a TaskManager, on a disk; Flink's temporary folder "
        "when not set.",
    )


class KafkaSettings(_Group):
    """Where Kafka is and how its topics are called."""

    bootstrap_servers: str = Field("127.0.0.1:9092", min_length=1, description="host:port, comma separated.")
    events_topic: str = Field("view-events", description="Batches of events, keyed by salt.")
    late_topic: str = Field("view-events-late", description="Events judged late, with their origin.")
    dead_letter_topic: str = Field("view-events-dead-letter", description="What could not be counted, and why.")
    metadata_topic: str = Field("video-metadata", description="Compacted: what is known of each video.")
    blocked_topic: str = Field("blocked-viewers", description="Compacted: when views of a viewer do not count.")
    counts_topic: str = Field("view-counts", description="Counts as they change, with what is known of the video.")
    declaration_topic: str = Field(
        "view-counts-declaration",
        description="Compacted: salts and partitions of the events topic, for all to compare.",
    )
    partitions: int = Field(4, ge=1, description="Partitions of the events topic; a salt lives in one.")
    replication_factor: int = Field(1, ge=1, description="3 on a cluster.")
    retention_ms: int = Field(7 * DAY_MS, ge=MINUTE_MS, description="Of the events topic.")
    counts_retention_ms: int = Field(DAY_MS, ge=MINUTE_MS, description="Of view-counts.")


class PackSettings(_Group):
    """The job that packs a topic of single events. May change with every start, but for the topic."""

    source_topic: str = Field("single-view-events", description="One event in a record.")
    framing: Literal["json", "plain", "single_object", "confluent"] = Field(
        "json", description="How a record holds its event: JSON, or Avro plain or behind one of two headers."
    )
    schema_file: str | None = Field(
        None,
        description="The Avro schema that records were written with; ViewEvent.v1 when not set. Several, comma "
        "separated, for framing=single_object; for framing=confluent number=file of each, as "
        "7=/schemas/play.avsc,8=ViewEvent.v1. Records of any other schema are dead letters.",
    )
    unknown_fields: Literal["ignored", "misspelt_refused", "refused"] = Field(
        "misspelt_refused",
        description="What becomes of fields that no event has: all left out, or refused where the name spells "
        "one of an event's otherwise (viewedAt), or all refused.",
    )
    heartbeats: bool = Field(
        True,
        description="Whether the job sends each salt an empty batch a second, so that minutes close where no ingest "
        "process does.",
    )
    batch_events_max: int = Field(2000, ge=1, le=100_000, description="Events in one record of the events topic.")
    records_at_once: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Records that are packed together, over all salts: the more, the fuller.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.framing == "json" and self.schema_file is not None:
            raise ValueError(f"schema_file={self.schema_file} says nothing about framing=json; choose an Avro framing")
        if self.framing == "confluent" and self.schema_file is None:
            raise ValueError(
                "schema_file is not set, and framing=confluent needs the number of each schema that records may be "
                "of: set it to number=file, comma separated, with ViewEvent.v1 as the file of the product's own"
            )
        for number, file in self.schema_files:
            if (number is None) == (self.framing == "confluent") or not file:
                raise ValueError(
                    f"schema_file={self.schema_file}: {file or 'nothing'} is named "
                    f"{'without' if number is None else 'with'} a number, or has no file; number=file goes with "
                    "framing=confluent, files alone with the others"
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
    """The object store, as this product's own Python reaches it; Flink has settings of its own, s3.*."""

    endpoint: str | None = Field(None, description="URL of a store that is not AWS's own.")
    region: str = Field("us-east-1", min_length=1)
    access_key: str | None = Field(None, description="With secret_key; without both, what the environment offers.")
    secret_key: SecretStr | None = Field(None, description="With access_key.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.access_key is None) != (self.secret_key is None):
            missing = "secret_key" if self.secret_key is None else "access_key"
            raise ValueError(f"s3.{missing} is not set and the other one is; set both or none")
        return self


class ArchiveSettings(_Group):
    """The job that copies the events topic to the object store."""

    path: S3Folder = Field("s3://view-counts/archive", description="Where the files are; a bucket's folder.")
    roll_ms: int = Field(
        MINUTE_MS,
        ge=1000,
        description="Time between two checkpoints of the job, at each of which a file of every partition ends: the "
        "longer, the larger the files and the later they are there.",
    )
    codec: Literal["zstandard", "deflate", "null"] = Field(
        "zstandard", description="Of the Avro files' blocks. Files of each can lie side by side."
    )
    kept_days: int = Field(
        7,
        ge=1,
        description="The rollup removes raw events so long after they arrived, and not before the oldest manifest that "
        "is kept counts them for good; longer than late events are added.",
    )


class HistorySettings(_Group):
    """The rollup, and what it makes of the archive."""

    path: S3Folder = Field("s3://view-counts/history", description="Where Parquet and manifest are; a bucket's folder.")
    late_hours: int = Field(
        144,
        ge=1,
        description="Late events are added up to so long after their view; less than raw events stay in the archive.",
    )
    late_file_hours: int = Field(
        12,
        ge=0,
        description="A file that the archive commits late is still counted when it is of the last so many hours: its "
        "partition is then counted again from there on. Slices are kept so much longer than late events are added.",
    )
    hours_at_once: int = Field(
        24,
        ge=1,
        description="Hours of arrival that a rollup counts before it publishes them and goes on: what a failure can "
        "cost, and how long others wait for the lease.",
    )
    deadline_s: float = Field(
        4 * 3600.0,
        gt=0,
        description="A rollup, an audit or an erasure that takes longer gives up; the next one does what is left.",
    )
    slice_events_max: int = Field(
        2_000_000,
        ge=1,
        description="An hour of a partition is counted in slices of so many events: what bounds a rollup's memory, at "
        "about 300 bytes each.",
    )
    viewer_minute_max: int = Field(
        60,
        ge=0,
        description="Views of one video and kind by one viewer in a minute, of which further ones are marked; 0: none "
        "is. A change marks past days again.",
    )
    viewer_day_max: int = Field(
        1000, ge=0, description="The same in a day, of those that the minute's maximum has not marked."
    )


class ErasureSettings(_Group):
    """Viewers who are erased from archive and history."""

    path: S3Folder = Field(
        "s3://view-counts/erasures",
        description="Where the list of erasures is, a bucket's folder: apart from what analysts may read, since it "
        "holds the keys of those that are open.",
    )


class CassandraSettings(_Group):
    """Where Cassandra is and how it is written to."""

    hosts: HostList = Field("127.0.0.1", description="Contact points, comma separated.")
    port: Port = 9042
    keyspace: str = Field("view_counts", pattern=r"^[a-z][a-z0-9_]{0,47}$")
    local_dc: str = Field("datacenter1", description="The data centre that requests go to first.")
    replication_factor: int = Field(1, ge=1, description="3 on a cluster.")
    batch_rows_max: int = Field(
        200, ge=1, le=500, description="Rows of one unlogged batch, sorted by partition; 200 are about 15 KB."
    )
    batch_partitions_max: int = Field(
        20,
        ge=1,
        le=500,
        description="Partitions of one batch: Cassandra applies them one after the other, and each waits for the "
        "commit log, so that many in one batch make it slow where each has a single row.",
    )
    batch_bytes_max: int = Field(
        32 << 10,
        ge=8 << 10,
        le=32 << 10,
        description="Bytes of one batch as it is sent; lower it where a cluster's batch_size_fail_threshold is below "
        "50 KiB, as it is unless set. Cassandra refuses batches above that, and adds a little to each row.",
    )
    concurrency: int = Field(16, ge=1, le=256, description="Batches in flight of one sink subtask.")
    request_timeout_s: float = Field(10.0, gt=0, description="One request; a time-out is tried again.")

    @property
    def contact_points(self) -> list[str]:
        """The hosts as a list."""
        return [host.strip() for host in self.hosts.split(",") if host.strip()]


class IngestSettings(_Group):
    """The HTTP ingest service."""

    host: str = "127.0.0.1"
    port: Port = 8080
    linger_ms: int = Field(50, ge=0, description="How long events wait for others of their salt.")
    batch_events_max: int = Field(2000, ge=1, le=100_000, description="Events in one Kafka record.")
    body_bytes_max: int = Field(8 << 20, ge=1024, description="A larger body is answered 413.")
    events_in_flight_max: int = Field(
        500_000, ge=1, description="Events accepted but not yet acknowledged by Kafka; above it, 429."
    )
    delivery_timeout_ms: int = Field(30_000, ge=1000, description="After it an event's write has failed.")
    heartbeat_ms: int = Field(1000, ge=100, description="An idle salt gets an empty batch this often.")
    topics_check_s: float = Field(
        30.0, gt=0, description="So often it is looked whether Kafka's topics are still what the product needs."
    )
    past_margin_ms: int = Field(
        DAY_MS,
        ge=0,
        description="An event viewed longer ago than history.late_hours and this, by the service's own clock, is "
        "rejected: nothing would count it.",
    )
    future_margin_ms: int = Field(
        10 * MINUTE_MS,
        ge=0,
        description="An event viewed further ahead than counting.future_skew_ms and this, by the service's own clock, "
        "is rejected. Clocks of services and brokers must differ by less.",
    )
    keep_alive_s: int = Field(
        75, ge=1, description="An idle connection is closed after it: longer than a load balancer keeps its own."
    )
    tally_minutes: int = Field(
        180, ge=1, le=10_000, description="Minutes of arrival of which the service keeps its own tally."
    )


class QuerySettings(_Group):
    """The HTTP query service."""

    host: str = "127.0.0.1"
    port: Port = 8090
    minutes_kept_days: int = Field(
        8,
        ge=2,
        description="Time to live of views_by_minute, as in schemas/cql; minutes are read from history a day before it "
        "is over.",
    )
    hours_kept_days: int = Field(
        100, ge=2, description="Time to live of views_by_hour; hours are read from history a day before it is over."
    )
    keep_alive_s: int = Field(
        75, ge=1, description="An idle connection is closed after it: longer than a load balancer keeps its own."
    )
    points_max: int = Field(50_000, ge=1, description="Points in one series answer; hours in one of a zone's days.")
    history_files_max: int = Field(
        2000, ge=1, description="Files of history that one answer may be read from: at first, one an hour."
    )
    history_timeout_s: float = Field(
        5.0, gt=0, description="One request to the object store; after a few of them the answer is 503."
    )


class Settings(BaseSettings):
    """All settings. Raises pydantic.ValidationError, which names the field, its value and the rule."""

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
                "so partitions would be unequally loaded; choose a divisor"
            )
        for name, parallelism, keys_name, keys in (
            ("dedup_parallelism", self.job.dedup_parallelism, "salts", self.counting.salts),
            ("window_parallelism", self.job.window_parallelism, "shards", self.counting.shards),
        ):
            if parallelism is not None and keys % parallelism:
                raise ValueError(
                    f"job.{name}={parallelism} does not divide counting.{keys_name}={keys}, so subtasks would get "
                    "unequal shares, or none; choose a divisor"
                )
        for name, path in (("archive", self.archive.path), ("history", self.history.path)):
            if f"{self.erasure.path}/".startswith(f"{path}/"):
                raise ValueError(
                    f"erasure.path={self.erasure.path} lies in {name}.path={path}, whose readers would meet it; choose "
                    "another folder"
                )
        reach = self.history.late_hours + self.history.late_file_hours
        if self.archive.kept_days * 24 <= reach:
            raise ValueError(
                f"archive.kept_days={self.archive.kept_days} is {self.archive.kept_days * 24} hours, not longer than "
                f"history.late_hours + history.late_file_hours = {reach}: what an hour counts could not be counted "
                "again while it still changes; raise it, or lower one of these"
            )
        least = self.ingest.delivery_timeout_ms + self.counting.future_skew_ms
        if self.counting.clock_ahead_ms < least:
            raise ValueError(
                f"counting.clock_ahead_ms={self.counting.clock_ahead_ms} is less than ingest.delivery_timeout_ms + "
                f"counting.future_skew_ms = {least}: the broker's stamp of a record that was under way so long would "
                "not count; raise it"
            )
        least = self.kafka.retention_ms + self.counting.generation_ms
        if self.counting.state_ttl_ms < least:
            raise ValueError(
                f"counting.state_ttl_ms={self.counting.state_ttl_ms} is shorter than kafka.retention_ms + "
                f"generation_ms = {least}: a backlog could outlive the ids it needs; raise it"
            )
        return self
