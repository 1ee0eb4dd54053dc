"""Kafka's address and topics, and how its clients are let in.

Secrets are not here, but the paths of files that hold them: settings travel with a job.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from settings.durations import DAY_MS, MINUTE_MS
from settings.groups.base import Group, MountedFile

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
# A name stands in a line of Java's login configuration, in quotes. A brace would begin a reference to a secret.
LoginName = Annotated[str, Field(pattern=r'^[^"\\{\n]+$')]
_TLS = ("ca_file", "certificate_file", "key_file")
_BY_PASSWORD = ("username", "password_file")
_BY_TOKEN = ("token_url", "client_id", "client_secret_file")


class KafkaSettings(Group):
    """The address of Kafka, how its clients are let in, and the names of its topics."""

    bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=1, description="Brokers as host:port, separated by commas."
    )
    security_protocol: Protocol = Field(
        "PLAINTEXT", description="Whether connections are encrypted (SSL), and whether clients log in (SASL)."
    )
    sasl_mechanism: Mechanism | None = Field(None, description="How clients log in, with SASL_SSL or SASL_PLAINTEXT.")
    username: LoginName | None = Field(None, description="The user, for PLAIN and SCRAM.")
    password_file: MountedFile | None = Field(
        None,
        description="A file with the user's password and nothing else, without a line break. Jobs read it on the "
        "JobManager and the TaskManagers, at the same path.",
    )
    token_url: str | None = Field(
        None, pattern=r"^https?://[^\s{}']+$", description="Where clients get their tokens, for OAUTHBEARER."
    )
    client_id: LoginName | None = Field(None, description="The client's id at token_url.")
    client_secret_file: MountedFile | None = Field(
        None, description="A file with the client's secret, like password_file."
    )
    token_scope: LoginName | None = Field(None, description="The scope that the token shall have, if any.")
    ca_file: MountedFile | None = Field(
        None,
        description="A PEM file with the certificates by which those of brokers are checked. If it is not set, those "
        "of the system and of Java are taken.",
    )
    certificate_file: MountedFile | None = Field(
        None, description="A PEM file with the client's own certificate. Set it together with key_file."
    )
    key_file: MountedFile | None = Field(
        None, description="A PEM file with the key of the certificate: PKCS#8, without a password."
    )
    events_topic: str = Field("view-events", description="The topic of batches of events, keyed by salt.")
    late_topic: str = Field("view-events-late", description="The topic of late events, with their origin.")
    dead_letter_topic: str = Field(
        "view-events-dead-letter", description="The topic of dead letters: what could not be counted, and why."
    )
    diverted_topic: str = Field(
        "view-events-diverted",
        description="The topic of what diverted keys write: batches as in the events topic, which nothing counts.",
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
    rejected_bytes_max: int = Field(
        8 << 30,
        ge=-1,
        description="How many bytes a partition of the topics of late events, dead letters and diverted keys may hold. "
        "Kafka deletes the oldest beyond that, in whole segments, also before their 30 days are over. Whoever may send "
        "events can fill these topics, and a full disk would stop the events topic too. -1 sets no bound.",
    )
    counts_retention_ms: int = Field(DAY_MS, ge=MINUTE_MS, description="The retention of the topic view-counts.")

    @property
    def logs_in(self) -> bool:
        """Whether clients log in."""
        return self.security_protocol.startswith("SASL_")

    @property
    def is_encrypted(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        protocol, mechanism = self.security_protocol, self.sasl_mechanism
        if self.logs_in and mechanism is None:
            raise ValueError(
                f"kafka.sasl_mechanism is not set with kafka.security_protocol={protocol}; set it, for example to "
                "SCRAM-SHA-512"
            )
        if mechanism is not None and not self.logs_in:
            raise ValueError(
                f"kafka.sasl_mechanism={mechanism} has no effect with kafka.security_protocol={protocol}; set the "
                "latter to SASL_SSL"
            )
        if not self.is_encrypted:
            self._refuse(_TLS, f"kafka.security_protocol={protocol}", "set the latter to SSL or SASL_SSL")
        if (self.certificate_file is None) != (self.key_file is None):
            missing = "key_file" if self.key_file is None else "certificate_file"
            raise ValueError(f"kafka.{missing} is not set and the other of the two is; set both or none")
        needed = () if mechanism is None else _BY_TOKEN if mechanism == "OAUTHBEARER" else _BY_PASSWORD
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"kafka.{name} is not set with kafka.sasl_mechanism={mechanism}; set it")
        wanted = (*needed, "token_scope") if needed == _BY_TOKEN else needed
        others = [name for name in (*_BY_PASSWORD, *_BY_TOKEN, "token_scope") if name not in wanted]
        self._refuse(others, f"kafka.sasl_mechanism={mechanism}", "remove it, or choose its mechanism")
        return self

    def _refuse(self, names: Iterable[str], beside: str, remedy: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None:
                raise ValueError(f"kafka.{name}={value} has no effect with {beside}; {remedy}")
