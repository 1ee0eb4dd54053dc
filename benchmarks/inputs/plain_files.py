"""Writes events in the form that other contenders read fastest: Avro containers of plain events."""

import io
from typing import Any

import fastavro
import pyarrow.fs
from confluent_kafka import Consumer, TopicPartition

from benchmarks.inputs.events import Topic
from schemas.varint import varint

FILE_EVENTS = 1_000_000


def write_plain_files(
    bootstrap_servers: str, topic: Topic, schema: dict[str, Any], store: pyarrow.fs.FileSystem, folder: str
) -> int:
    """Copy a topic of batches, which are arrays of events of this schema, to files. Returns how many files."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": topic.name, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic.name, partition, 0) for partition in topic.events_by_record])
    left = {partition: len(sizes) for partition, sizes in topic.events_by_record.items()}
    waiting: list[tuple[int, bytes]] = []
    files = 0
    try:
        while any(left.values()):
            for message in consumer.consume(100, timeout=10.0):
                partition, offset, value = message.partition(), message.offset(), message.value()
                assert partition is not None
                assert offset is not None
                assert value is not None
                events = topic.events_by_record[partition][offset]
                # A batch has the number of its events, the events, and the end of an array.
                waiting.append((events, value[len(varint(events)) : -1]))
                left[partition] -= 1
            if sum(events for events, _ in waiting) >= FILE_EVENTS or not any(left.values()):
                with store.open_output_stream(f"{folder}/{files:05}.avro") as file:
                    file.write(_container(schema, waiting))
                waiting, files = [], files + 1
    finally:
        consumer.close()
    return files


def _container(schema: dict[str, Any], batches: list[tuple[int, bytes]]) -> bytes:
    """A container without compression, with a block for each batch."""
    header = io.BytesIO()
    fastavro.writer(header, fastavro.parse_schema(schema), [])
    # The header ends with the marker that ends each block.
    marker = header.getvalue()[-16:]
    blocks = (varint(events) + varint(len(data)) + data + marker for events, data in batches)
    return header.getvalue() + b"".join(blocks)
