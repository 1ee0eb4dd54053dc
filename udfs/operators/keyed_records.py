"""A Flink operator that reads a compacted topic's records (udfs.logic.wire.keyed_records) before they are broadcast.

Input is Row(key, value, record timestamp, partition, offset). Output is of rest_type(); an empty rest stands for a
tombstone. The side output for dead letters carries RejectedEvents values. The parallelism must be 1, so that a bad
record becomes one dead letter.
"""

from collections.abc import Iterator
from typing import Any

from pyflink.common import Row, Types
from pyflink.common.typeinfo import TypeInformation
from pyflink.datastream import ProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor

from udfs.logic.stream.rejected import rejected_record
from udfs.logic.wire.keyed_records import Reader, Refusal
from udfs.operators.dedup import dead_letter_tag


def rest_type() -> TypeInformation:
    """Return the type Row(key, rest, partition, offset)."""
    return Types.ROW([Types.STRING(), Types.PRIMITIVE_ARRAY(Types.BYTE()), Types.INT(), Types.LONG()])


def broadcast_descriptor(name: str) -> MapStateDescriptor:
    """Make the descriptor of a broadcast state of this name. Each user makes one, as with a tag.

    Flink needs one for a broadcast. Nothing is kept in that state, see udfs.sources.compacted.
    """
    return MapStateDescriptor(name, Types.STRING(), Types.PRIMITIVE_ARRAY(Types.BYTE()))


class ReadKeyedRecords(ProcessFunction):
    """Turns each record into a rest or a dead letter. `read` is a function of udfs.logic."""

    def __init__(self, topic: str, read: Reader) -> None:
        self._topic = topic
        self._read = read

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Make the tag."""
        self._dead_letter = dead_letter_tag()

    def process_element(self, value: Any, ctx: ProcessFunction.Context) -> Iterator[Any]:  # noqa: ARG002
        """Read one record."""
        key, body, record_ms, partition, offset = value
        found = self._read(key, body)
        if isinstance(found, Refusal):
            reason, payload = found.value, body or b""
            yield self._dead_letter, rejected_record(self._topic, partition, offset, record_ms, reason, payload)
        else:
            yield Row(found.key, found.rest or b"", partition, offset)
