"""One video's rows are found in history's files by what footers say, and a manifest by its name."""

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.history import write_history
from tests.support.registers import put_manifest
from udfs.logic.history.manifest import VERSION, HistoryError, no_history
from udfs.logic.kernels.key_columns import shards_of
from udfs.logic.kernels.shards import shard_of
from udfs.stores import history_store
from udfs.stores.history_reader import HistoryFiles
from udfs.stores.history_store import HistoryStore

HOUR = 500_000
VIDEOS = 700


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "history")


@pytest.fixture
def store(root: str) -> HistoryStore:
    return HistoryStore(pyarrow.fs.LocalFileSystem(), root)


@pytest.fixture
def files(root: str) -> HistoryFiles:
    return HistoryFiles(pyarrow.fs.LocalFileSystem(), root)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), st.integers(1, 1024))
def test_a_video_is_looked_for_in_the_shard_that_counts_it(video_id: str, shards: int) -> None:
    (counts,) = shards_of(pa.array([video_id]), shards)
    assert shard_of(video_id, shards) == counts


def test_a_manifest_is_read_by_its_name(store: HistoryStore, files: HistoryFiles) -> None:
    first = msgspec.structs.replace(no_history(4), run=1)
    second = msgspec.structs.replace(first, run=2, through_hour=17)
    names = [put_manifest(store, one) for one in (first, second)]
    assert [files.manifest(name) for name in names] == [first, second]
    with pytest.raises(FileNotFoundError):
        files.manifest("manifests/gone.json")
    newer = put_manifest(store, msgspec.structs.replace(first, version=VERSION + 1))
    with pytest.raises(HistoryError, match=f"version {VERSION + 1}, this code reads {VERSION}"):
        files.manifest(newer)


def test_only_row_groups_that_can_hold_the_video_are_read(
    store: HistoryStore, files: HistoryFiles, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_store, "GROUP_ROWS", 100)
    counts = {
        (f"v{n:04}", kind, HOUR * 60 + minute): n * 100 + minute + 1000 * (kind == "like")
        for n in range(0, VIDEOS, 2)
        for kind in ("like", "view")
        for minute in (0, 59)
    }
    manifest = write_history(store, counts, shards=1, from_hour=HOUR, through_hour=HOUR + 1)
    path = manifest.files["minutes"][HOUR][0]
    assert pq.read_metadata(f"{root}/{path}").num_row_groups == len(counts) // 100
    read: list[list[int]] = []
    plain = pq.ParquetFile.read_row_groups

    def noted(self: pq.ParquetFile, groups: list[int], *arguments: object, **named: object) -> object:
        read.append(groups)
        return plain(self, groups, *arguments, **named)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", noted)
    for n in (0, 348, VIDEOS - 2):
        found = files.rows(path, "minutes", f"v{n:04}", "view")
        assert found == [((HOUR * 60 + minute) * 60_000, n * 100 + minute) for minute in (0, 59)]
        assert files.rows(manifest.files["hours"][HOUR][0], "hours", f"v{n:04}", "like") == [
            (HOUR * 3_600_000, 2 * (n * 100 + 1000) + 59)
        ]
    assert files.rows(path, "minutes", "v0001", "view") == []
    assert all(len(groups) <= 2 for groups in read)
    read.clear()
    assert files.rows(path, "minutes", "u", "view") == files.rows(path, "minutes", "w", "view") == []
    assert read == []


def test_a_file_that_is_gone_says_so(files: HistoryFiles) -> None:
    with pytest.raises(FileNotFoundError):
        files.rows("minutes/gone.parquet", "minutes", "A", "view")


def test_videos_are_ordered_as_their_row_groups_are(store: HistoryStore, files: HistoryFiles) -> None:
    names = ["\x7f", "é", "中", "\U0001f600", "\uffff"]
    counts = {(name, "view", HOUR * 60): place + 1 for place, name in enumerate(names)}
    path = write_history(store, counts, shards=1, from_hour=0, through_hour=HOUR + 1).files["hours"][HOUR][0]
    views = [files.rows(path, "hours", name, "view") for name in names]
    assert views == [[(HOUR * 3_600_000, place + 1)] for place in range(len(names))]
