"""Cassandra's address, and the limits of writes to it."""

from pydantic import Field

from settings.groups.base import Group, HostList, Port


class CassandraSettings(Group):
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
