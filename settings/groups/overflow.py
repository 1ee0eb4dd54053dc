"""What ingest stores in the object store while Kafka is away, and the drainers that bring it to Kafka."""

from typing import Annotated

from pydantic import Field

from settings.durations import MINUTE_MS
from settings.groups.base import Group, Port

S3FolderOrNone = Annotated[str, Field(pattern=r"^(s3://[^/]+/.+[^/])?$")]


class OverflowSettings(Group):
    """Where ingest stores events that Kafka does not take, and when it does so."""

    path: S3FolderOrNone = Field(
        "",
        description="The folder of overflow in a bucket, such as s3://view-counts/overflow. Ingest, drainers and query "
        "must have the same. Empty switches overflow off: ingest then answers 503 while Kafka is away.",
    )
    wait_ms: int = Field(
        3000,
        ge=100,
        description="How long ingest waits for Kafka to acknowledge an event before it stores the event in overflow. A "
        "partition that has taken longer gets no events until it acknowledges a heartbeat in less.",
    )
    object_ms: int = Field(1000, ge=10, description="How long an object gathers events before it is written.")
    object_bytes_max: int = Field(
        8 << 20, ge=1024, description="The size of gathered events at which an object is written at once."
    )
    held_bytes_max: int = Field(
        64 << 20,
        ge=1024,
        description="The maximum size of all events that a process holds for overflow. If it is reached, further ones "
        "are answered with 503.",
    )
    timeout_s: float = Field(
        5.0, gt=0, description="How long one request to the object store may take. It is tried twice."
    )
    list_s: float = Field(
        3.0,
        gt=0,
        description="How often query and drainers list the folder. Answers are complete no further than that.",
    )
    queue_url: str = Field(
        "",
        description="The URL of a queue of AWS SQS for notices of new objects. If it is empty, notices go through "
        "Redis. Without either, drainers find objects by listing.",
    )


class DrainSettings(Group):
    """The drainers: python -m services.drain."""

    private_host: str = Field("127.0.0.1", description="The address of the private port.")
    private_port: Port = Field(8195, description="The private port: metrics.")
    events_per_second_max: int = Field(
        20_000,
        ge=1,
        description="How many events a drainer writes in a second while the count job is not behind, or while nobody "
        "knows whether it is.",
    )
    events_per_second_min: int = Field(1000, ge=1, description="How many it writes while the count job is behind.")
    lag_max_ms: int = Field(
        10 * MINUTE_MS,
        ge=MINUTE_MS,
        description="How far the count job is behind when a drainer writes at the lowest rate. Between a minute and "
        "this, the rate falls evenly.",
    )
    skew_ms: int = Field(
        2 * MINUTE_MS,
        ge=0,
        description="By how much the clocks of two brokers may differ. An object is deleted so long after the stream "
        "has passed its records.",
    )
    hold_s: float = Field(
        15.0, gt=0, description="How long a drainer leaves a partition alone that did not acknowledge its records."
    )
    kept_days: int = Field(
        8, ge=1, description="How long the account of a drained object is kept after the object is deleted."
    )
