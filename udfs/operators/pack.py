"""Vectorised SQL functions that pack single events into batches (udfs.logic.wire.single_events) and send them.

Flink hands over the records of a bundle as Arrow columns, which costs a fraction of one element each. The function
returns when Kafka has acknowledged everything that was made from them, so no checkpoint has a later offset.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from pyflink.table import FunctionContext
from pyflink.table.udf import ScalarFunction

from settings import Settings
from udfs.logic.stream.rejected import rejected_record
from udfs.logic.wire.single_events import Origin, Packed, Packer, Unknown, WriterSchema, packer_of
from udfs.sinks.kafka_writer import BY_KEY, KafkaWriter, Outgoing


class Pack(ScalarFunction):
    """Takes the columns value, partition, offset and time in ms. Returns how many events each record was, 1 or 0."""

    def __init__(self, settings: Settings, schemas: Sequence[WriterSchema]) -> None:
        self._settings = settings
        self._schemas = schemas

    def open(self, function_context: FunctionContext) -> None:  # noqa: ARG002
        """Make the packer and the producer."""
        pack, counting = self._settings.pack, self._settings.counting
        self._packer = packer_of(
            pack.framing,
            pack.source_topic,
            counting.salts,
            pack.batch_events_max,
            self._schemas,
            Unknown(pack.unknown_fields),
            project=self._settings.access.project,
        )
        self._writer = KafkaWriter(self._settings.kafka)

    def is_deterministic(self) -> bool:
        """No. The function is called for its effect, so Flink must neither leave out nor repeat a call."""
        return False

    def eval(self, values: pd.Series, partitions: pd.Series, offsets: pd.Series, times_ms: pd.Series) -> pd.Series:
        """Pack and send the records of one Arrow batch."""
        records = values.tolist()
        origin = Origin(partitions.tolist(), offsets.tolist(), times_ms.tolist())
        packed = self._packer.pack(records, origin, time.time_ns() // 1_000_000)
        self._writer.send(self._outgoing(packed, records, origin))
        events = np.ones(len(records), np.int64)
        events[[row for row, _ in packed.refused]] = 0
        return pd.Series(events)

    def _outgoing(self, packed: Packed, records: list[bytes | None], origin: Origin) -> Iterator[Outgoing]:
        kafka = self._settings.kafka
        for salt, value, _ in packed.batches:
            yield kafka.events_topic, value, salt.to_bytes(4, "big"), salt % kafka.partitions
        for row, reason in packed.refused:
            place = self._settings.pack.source_topic, origin.partitions[row], origin.offsets[row], origin.times_ms[row]
            letter = rejected_record(*place, reason, records[row] or b"")
            yield kafka.dead_letter_topic, letter, None, BY_KEY


class Heartbeats(ScalarFunction):
    """Sends a heartbeat for each salt whenever it is called, and returns how many it has sent."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def open(self, function_context: FunctionContext) -> None:  # noqa: ARG002
        """Make the producer."""
        self._packer = Packer(self._settings.counting.salts, 1)
        self._writer = KafkaWriter(self._settings.kafka)

    def is_deterministic(self) -> bool:
        """No. The function is called for its effect."""
        return False

    def eval(self, tick: int) -> int:  # noqa: ARG002
        """Send one heartbeat for each salt."""
        kafka = self._settings.kafka
        beats: list[Outgoing] = [
            (kafka.events_topic, value, salt.to_bytes(4, "big"), salt % kafka.partitions)
            for salt, value in self._packer.heartbeats(time.time_ns() // 1_000_000)
        ]
        self._writer.send(iter(beats))
        return len(beats)
