"""What an installation has declared in Kafka: the numbers that everybody who writes or reads events must agree on.

One record of a compacted topic, whose key is the name of the events topic. Ingest, jobs and tools compare their
settings with it: an environment variable that one of them lacks is then a sentence, not events under another salt.
"""

import msgspec


class Declaration(msgspec.Struct, frozen=True):
    """The record's value, as JSON.

    `salts` and `partitions` as in the settings; partitions that were added to the topic later stay empty. `topic_id` is
    Kafka's id of the events topic, "" where the broker gives none. `accepts` are the differences from the promises of
    schemas.topics that the operator has accepted by name, each as `Difference.name`.
    """

    salts: int
    partitions: int
    topic_id: str = ""
    accepts: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The value."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, value: bytes) -> "Declaration":
        """Raises msgspec.ValidationError and msgspec.DecodeError. Fields of newer code are left out."""
        return msgspec.json.decode(value, type=cls)
