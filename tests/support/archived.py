"""Archive files as Flink writes them, and the block list's topic in memory."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import fastavro
import pytest

from connectors.compacted_topic import Written
from tools import block_list
from udfs.logic.stream.block_list import BlockList, read_blocked
from udfs.logic.stream.block_table import BlockTable
from udfs.logic.wire.keyed_records import Keyed
from udfs.stores.archive import Record

# A nullable row, as Flink 2.3's avro format has it, without the columns that are in the path.
SCHEMA = fastavro.parse_schema(
    [
        "null",
        {
            "type": "record",
            "name": "record",
            "namespace": "org.apache.flink.avro.generated",
            "fields": [
                {"name": "kafka_offset", "type": "long"},
                {"name": "record_ms", "type": "long"},
                {"name": "record_key", "type": ["null", "bytes"], "default": None},
                {"name": "record_value", "type": ["null", "bytes"], "default": None},
            ],
        },
    ]
)
HOUR_MS = 3_600_000


def put_archive_file(
    root: Path, hour: int, partition: int, name: str, records: Iterable[Record], *, codec: str = "deflate"
) -> Path:
    """A file of small blocks in the folder of an hour, since 1970, and a partition."""
    at = datetime.fromtimestamp(hour * 3600, UTC)
    path = root / f"arrival_day={at:%Y-%m-%d}/arrival_hour={at:%H}/kafka_partition={partition}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"kafka_offset": r.offset, "record_ms": r.record_ms, "record_key": r.key, "record_value": r.value}
        for r in records
    ]
    with path.open("wb") as file:
        fastavro.writer(file, SCHEMA, rows, codec=codec, sync_interval=400, sync_marker=bytes(range(16)))
    return path


class BlockTopic:
    """Stands for the block list's topic: what was written last to each key."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes | None] = {}

    def write(self, _kafka: object, _topic: str, records: Iterable[tuple[bytes, bytes | None]]) -> Written:
        self.records.update(records)
        return Written(1, time.time_ns() // 1_000_000)

    def table(self) -> BlockTable:
        """As the rollup reads it."""
        made = BlockList()
        for key, value in self.records.items():
            record = read_blocked(key, value)
            assert isinstance(record, Keyed), record
            made.put(record.key.encode(), record.rest)
        return made.table

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Instead of Kafka's."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(block_list, "read_to_end", lambda *_: list(self.records.items()))
            patch.setattr(block_list, "write", self.write)
            yield
