"""Every setting of the product, as one frozen model. Knows no Flink, no network and no clock."""

from settings.model import (
    CassandraSettings,
    CountingSettings,
    IngestSettings,
    JobSettings,
    KafkaSettings,
    PackSettings,
    QuerySettings,
    S3Settings,
    Settings,
)

__all__ = [
    "CassandraSettings",
    "CountingSettings",
    "IngestSettings",
    "JobSettings",
    "KafkaSettings",
    "PackSettings",
    "QuerySettings",
    "S3Settings",
    "Settings",
]
