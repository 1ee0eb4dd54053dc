"""Every setting of the product, as one frozen model. Knows no Flink, no network and no clock."""

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
from settings.model import Settings

__all__ = [
    "AccessSettings",
    "ArchiveSettings",
    "CassandraSettings",
    "CountingSettings",
    "DrainSettings",
    "ErasureSettings",
    "HistorySettings",
    "IngestSettings",
    "JobSettings",
    "KafkaSettings",
    "LimitSettings",
    "OverflowSettings",
    "PackSettings",
    "QuerySettings",
    "RedisSettings",
    "S3Settings",
    "Settings",
]
