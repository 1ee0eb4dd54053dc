"""All settings as one frozen model, which is validated as a whole. Each group is in a module of settings.groups.

Settings are read from the environment as VIEW_COUNTS_<GROUP>_<FIELD>, for example VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS.
This module must not import pyflink, so that services and tools can read settings without a JVM.
"""

from typing import Self

from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from settings.groups.access import AccessSettings
from settings.groups.cassandra import CassandraSettings
from settings.groups.counting import CountingSettings, JobSettings
from settings.groups.history import ArchiveSettings, ErasureSettings, HistorySettings
from settings.groups.ingest import IngestSettings
from settings.groups.kafka import KafkaSettings
from settings.groups.limits import LimitSettings
from settings.groups.overflow import DrainSettings, OverflowSettings
from settings.groups.pack import PackSettings
from settings.groups.query import QuerySettings
from settings.groups.redis import RedisSettings
from settings.groups.s3 import S3Settings


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
    redis: RedisSettings = RedisSettings()
    limits: LimitSettings = LimitSettings()
    access: AccessSettings = AccessSettings()
    ingest: IngestSettings = IngestSettings()
    overflow: OverflowSettings = OverflowSettings()
    drain: DrainSettings = DrainSettings()
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
        for name, path in (
            ("archive", self.archive.path),
            ("history", self.history.path),
            ("erasure", self.erasure.path),
        ):
            own, other = f"{self.overflow.path}/", f"{path}/"
            if self.overflow.path and (own.startswith(other) or other.startswith(own)):
                raise ValueError(
                    f"overflow.path={self.overflow.path} and {name}.path={path} are one folder, or one is inside the "
                    "other, so that readers of one would find files of the other; choose another folder"
                )
        reach = self.history.late_hours + self.history.late_file_hours
        if self.archive.kept_days * 24 <= reach:
            raise ValueError(
                f"archive.kept_days={self.archive.kept_days} is {self.archive.kept_days * 24} hours, not longer than "
                f"history.late_hours + history.late_file_hours = {reach}: raw events would be removed while their hour "
                "may still have to be counted again; raise archive.kept_days, or lower one of the other two"
            )
        if self.ingest.country_header and not self.access.client_address_header:
            raise ValueError(
                f"ingest.country_header={self.ingest.country_header} is set and access.client_address_header is not, "
                "so that nobody knows whether a request came through the proxy that sets it; name that header and "
                "access.trusted_proxies"
            )
        if self.drain.events_per_second_min > self.drain.events_per_second_max:
            raise ValueError(
                f"drain.events_per_second_min={self.drain.events_per_second_min} is more than "
                f"drain.events_per_second_max={self.drain.events_per_second_max}; lower the one, or raise the other"
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
