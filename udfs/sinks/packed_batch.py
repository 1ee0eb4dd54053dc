"""Batches of statements that are already encoded, through the driver's own hook for encodings of one's own.

The driver encodes a batch value by value, for 6 values a row: half of a sink's CPU time (docs/decisions/0013). With
`PackedProtocolHandler` a session also sends batches of which a kernel has written the bytes; a test compares them with
the driver's.
"""

import struct
from typing import Any

from cassandra.protocol import ProtocolHandler
from cassandra.query import BatchStatement, BatchType

from udfs.logic.outgoing.cql_rows import Inserts

_SHORT = struct.Struct(">H")
_INT = struct.Struct(">I")
# Of a frame: the header up to the length, and of a BATCH's body the type and the number of statements.
_LENGTH_AT = 5
_BODY_AT = 9
_ROWS_AT = 12


class PackedBatch(BatchStatement):
    """An unlogged batch; its coordinator is a replica of the first row's partition."""

    def __init__(self, inserts: Inserts, keyspace: str) -> None:
        super().__init__(BatchType.UNLOGGED)
        # What the session hands to the message, and nothing else of the driver reads.
        self._statements_and_parameters = inserts
        self.routing_key = inserts.routing_key
        self.keyspace = keyspace


class PackedProtocolHandler(ProtocolHandler):
    """The driver's encoding, but of packed batches."""

    @classmethod
    def encode_message(cls, msg: Any, *arguments: Any, **named: Any) -> bytes:
        """The frame of a message; arguments as the driver's."""
        inserts = getattr(msg, "queries", None)
        if not isinstance(inserts, Inserts):
            return super().encode_message(msg, *arguments, **named)
        msg.queries = ()
        try:
            empty = super().encode_message(msg, *arguments, **named)
        finally:
            # The message may be sent again.
            msg.queries = inserts
        return b"".join(
            (
                empty[:_LENGTH_AT],
                _INT.pack(len(empty) - _BODY_AT + len(inserts.body)),
                empty[_BODY_AT : _ROWS_AT - 2],
                _SHORT.pack(inserts.number),
                inserts.body,
                empty[_ROWS_AT:],
            )
        )
