"""Archive files in which some records are replaced: all else is the same, to the byte. Files replaced in one step."""

import io
from pathlib import Path
from typing import Any

import fastavro
import pyarrow.fs
import pytest

from tests.support.archived import put_archive_file
from udfs.logic.wire.container_file import Row, replaced
from udfs.stores.archive import Archive, ArchiveError, Record, rewritten
from udfs.stores.replaced_file import replace

RECORDS = [Record(n, 1000 + n, None if n == 7 else b"key", None if n == 5 else b"v%d" % n * 40) for n in range(60)]


def rows(content: bytes) -> list[Any]:
    return list(fastavro.reader(io.BytesIO(content)))


def blocks(content: bytes) -> list[tuple[int, bytes]]:
    """(records, the block as it is in the file)."""
    found = fastavro.block_reader(io.BytesIO(content))
    return [(one.num_records, content[one.offset : one.offset + one.size]) for one in found]


@pytest.mark.parametrize("codec", ["zstandard", "deflate", "null"])
def test_blocks_without_a_change_stay_byte_for_byte(tmp_path: Path, codec: str) -> None:
    content = put_archive_file(tmp_path, 0, 0, "part-0", RECORDS, codec=codec).read_bytes()

    def change(row: Row) -> Row | None:
        return row | {"record_value": b"new"} if row["kafka_offset"] in (20, 21, 50) else None

    new = replaced(content, change)
    assert new is not None
    before, after = blocks(content), blocks(new)
    assert len(before) > 5
    assert [number for number, _ in after] == [number for number, _ in before]
    assert 1 <= sum(one != other for one, other in zip(before, after, strict=True)) <= 3
    first = content.index(before[0][1])
    assert new[:first] == content[:first]
    want = [row | ({"record_value": b"new"} if row["kafka_offset"] in (20, 21, 50) else {}) for row in rows(content)]
    assert rows(new) == want
    assert fastavro.reader(io.BytesIO(new)).codec == codec
    # What is written again as it was is the same too, so that a run that was killed can be repeated.
    assert replaced(content, dict) == content
    assert replaced(content, lambda _row: None) is None


def test_an_archive_file_is_rewritten_record_by_record(tmp_path: Path) -> None:
    archive = Archive(pyarrow.fs.LocalFileSystem(), str(tmp_path))
    before = put_archive_file(tmp_path, 30, 2, "part-0", RECORDS).read_bytes()
    (file,) = archive.files()
    content = rewritten(file.path, before, lambda record: record._replace(key=None) if record.offset == 3 else None)
    assert content is not None
    replace(pyarrow.fs.LocalFileSystem(), file.path, content)
    want = [record._replace(key=None) if record.offset == 3 else record for record in RECORDS]
    # The file that was written beside it is gone.
    (file,) = archive.files()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["part-0"]
    assert list(archive.read(file)) == want
    assert rewritten(file.path, content, lambda _record: None) is None


def test_a_file_that_is_torn_is_named(tmp_path: Path) -> None:
    path = put_archive_file(tmp_path, 30, 2, "part-0", RECORDS)
    archive = Archive(pyarrow.fs.LocalFileSystem(), str(tmp_path))
    (file,) = archive.files()
    for content in (path.read_bytes()[:-20], path.read_bytes()[:30], b""):
        with pytest.raises(ArchiveError, match=r"part-0 cannot be read: .*; restore it"):
            rewritten(file.path, content, lambda _record: None)


def test_a_write_that_fails_leaves_the_file_that_there_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    class Store:
        """Cannot move."""

        def __getattr__(self, name: str) -> Any:
            return getattr(pyarrow.fs.LocalFileSystem(), name)

        def move(self, *_: str) -> None:
            raise OSError("the store is away")

    with pytest.raises(OSError, match="away"):
        replace(Store(), str(path), b"after")
    assert path.read_bytes() == b"before"
    replace(pyarrow.fs.LocalFileSystem(), str(path), b"after")
    assert path.read_bytes() == b"after"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_two_who_replace_a_file_at_once_both_come_to_their_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    class Store:
        """Another one replaces the file between a write and the move."""

        def __getattr__(self, name: str) -> Any:
            return getattr(pyarrow.fs.LocalFileSystem(), name)

        def move(self, *paths: str) -> None:
            replace(pyarrow.fs.LocalFileSystem(), str(path), b"of another")
            pyarrow.fs.LocalFileSystem().move(*paths)

    replace(Store(), str(path), b"mine")
    assert path.read_bytes() == b"mine"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
