"""The declaration of an installation: the numbers on which all that writes or reads events must agree.

It is one record of a compacted topic. Its key is the name of the events topic. Ingest, jobs and tools compare their
settings with it. So if one of them lacks an environment variable, it stops with an error, and does not write events
under another salt.
"""

import msgspec


class Declaration(msgspec.Struct, frozen=True):
    """The value of the record, which is stored as JSON.

    `salts` and `partitions` are those of the settings. Partitions that are added to the topic later stay empty.
    `topic_id` is Kafka's id of the events topic, and "" if the broker gives none. `accepts` has the `Difference.name`
    of each difference from the promises of schemas.topics that an operator has accepted.
    """

    salts: int
    partitions: int
    topic_id: str = ""
    accepts: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The declaration as the value of the record."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, value: bytes) -> "Declaration":
        """The declaration in a record's value. Ignores unknown fields, which newer versions may write.

        Raises msgspec.DecodeError, or its subclass msgspec.ValidationError, if the value is none.
        """
        return msgspec.json.decode(value, type=cls)
