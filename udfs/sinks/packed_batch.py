"""Sends CQL batches that are already encoded, by a hook of the driver.

The driver encodes a CQL batch value by value, 6 values a row, which took half of a sink's CPU time
(docs/decisions/0013). With `PackedProtocolHandler`, a session also sends CQL batches whose bytes a kernel has written.
A test compares these bytes with the driver's.
"""

import struct
from typing import Any

from cassandra.protocol import ProtocolHandler
from cassandra.query import BatchStatement, BatchType

from udfs.logic.outgoing.cql_rows import Inserts

_SHORT = struct.Struct(">H")
_INT = struct.Struct(">I")
# Places in a frame: where the length begins, where the body begins, and where the statements of a CQL batch begin,
# after its type and the number of statements.
_LENGTH_AT = 5
_BODY_AT = 9
_ROWS_AT = 12


class PackedBatch(BatchStatement):
    """An unlogged CQL batch. Its coordinator is a replica of the first row's partition."""

    def __init__(self, inserts: Inserts, keyspace: str) -> None:
        super().__init__(BatchType.UNLOGGED)
        # The session only passes this on to the message; nothing else in the driver reads it.
        self._statements_and_parameters = inserts
        self.routing_key = inserts.routing_key
        self.keyspace = keyspace


class PackedProtocolHandler(ProtocolHandler):
    """The driver's protocol handler, which also encodes packed CQL batches."""

    @classmethod
    def encode_message(cls, msg: Any, *arguments: Any, **named: Any) -> bytes:
        """Return the frame of a message. The arguments are those of the driver."""
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
