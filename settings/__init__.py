"""Every setting of the product, as one frozen model. Knows no Flink, no network and no clock."""

from settings.model import (
    ArchiveSettings,
    CassandraSettings,
    CountingSettings,
    ErasureSettings,
    HistorySettings,
    IngestSettings,
    JobSettings,
    KafkaSettings,
    PackSettings,
    QuerySettings,
    S3Settings,
    Settings,
)

__all__ = [
    "ArchiveSettings",
    "CassandraSettings",
    "CountingSettings",
    "ErasureSettings",
    "HistorySettings",
    "IngestSettings",
    "JobSettings",
    "KafkaSettings",
    "PackSettings",
    "QuerySettings",
    "S3Settings",
    "Settings",
]
