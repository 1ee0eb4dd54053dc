"""Cassandra's address, how its clients are let in, and the limits of writes to it."""

from typing import Self

from pydantic import Field, model_validator

from settings.groups.base import Group, HostList, MountedFile, Port


class CassandraSettings(Group):
    """The address of Cassandra, how its clients are let in, and the limits of writes to it."""

    hosts: HostList = Field("127.0.0.1", description="Contact points, separated by commas.")
    port: Port = 9042
    keyspace: str = Field("view_counts", pattern=r"^[a-z][a-z0-9_]{0,47}$")
    local_dc: str = Field("datacenter1", description="The data centre to which requests go first.")
    replication_factor: int = Field(1, ge=1, description="The number of replicas of each row: 3 on a cluster.")
    username: str | None = Field(None, min_length=1, description="The role. Set it together with password_file.")
    password_file: MountedFile | None = Field(
        None,
        description="A file with the role's password and nothing else, without a line break. Workers of jobs read it "
        "on the TaskManagers, at the same path.",
    )
    tls: bool = Field(False, description="Whether connections are encrypted.")
    ca_file: MountedFile | None = Field(
        None,
        description="A PEM file with the certificates by which those of servers are checked, with tls. If it is not "
        "set, those of the system are taken.",
    )
    certificate_file: MountedFile | None = Field(
        None, description="A PEM file with the client's own certificate. Set it together with key_file."
    )
    key_file: MountedFile | None = Field(
        None, description="A PEM file with the key of the certificate, without a password."
    )
    tls_names: bool = Field(
        True,
        description="Whether a server's certificate must name the IP address at which it is reached, also where hosts "
        "has a name.",
    )
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

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for one, other in (("username", "password_file"), ("certificate_file", "key_file")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                missing = one if getattr(self, one) is None else other
                raise ValueError(f"cassandra.{missing} is not set and the other of the two is; set both or none")
        for name in ("ca_file", "certificate_file"):
            value = getattr(self, name)
            if value is not None and not self.tls:
                raise ValueError(
                    f"cassandra.{name}={value} has no effect with cassandra.tls=false; set cassandra.tls=true"
                )
        return self
