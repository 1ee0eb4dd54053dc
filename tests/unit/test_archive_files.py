"""Which files of the archive hold which hours, and what is read from them."""

from pathlib import Path

import fastavro
import pyarrow.fs
import pytest

from udfs.stores.archive import Archive, Record

# As Flink's avro format writes a nullable row.
SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "record",
        "fields": [
            {"name": "kafka_offset", "type": "long"},
            {"name": "record_ms", "type": "long"},
            {"name": "record_key", "type": ["null", "bytes"]},
            {"name": "record_value", "type": ["null", "bytes"]},
        ],
    }
)


def put(root: Path, folder: str, name: str, records: list[Record]) -> None:
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"kafka_offset": r.offset, "record_ms": r.record_ms, "record_key": r.key, "record_value": r.value}
        for r in records
    ]
    with path.open("wb") as file:
        fastavro.writer(file, SCHEMA, rows, codec="zstandard")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(pyarrow.fs.LocalFileSystem(), str(tmp_path / "archive"))


def test_hours_are_found_across_midnight_and_a_record_in_two_files_is_one(tmp_path: Path, archive: Archive) -> None:
    root = tmp_path / "archive"
    records = [Record(n, 1000 + n, None if n == 2 else b"k", None if n == 1 else b"v%d" % n) for n in range(5)]
    last_hour = "arrival_day=1970-01-01/arrival_hour=23/kafka_partition=3"
    put(root, last_hour, "part-a-0", records[2:])
    put(root, last_hour, "part-b-0", records[:3])
    put(root, "arrival_day=1970-01-02/arrival_hour=00/kafka_partition=12", "part-a-1", records[:1])
    put(root, last_hour, ".part-a-1.inprogress", [])
    put(root, last_hour, "_SUCCESS", [])
    assert [(file.hour, file.partition) for file in archive.files()] == [(23, 3), (23, 3), (24, 12)]
    assert all(file.size == Path(file.path).stat().st_size for file in archive.files())
    assert [file.hour for file in archive.files([24, 25])] == [24]
    assert list(archive.read_partition(archive.files([23]))) == records


def test_there_is_no_archive_yet(archive: Archive) -> None:
    assert archive.files() == []
    assert archive.files([1]) == []
