"""What is written to history is read from it, by row group, and what no manifest names goes. On a local folder."""

import uuid
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.fs
import pytest

from settings.durations import HOUR_MS
from udfs.logic.audience import CELLS, COUNTRIES, VIEWERS, Sums
from udfs.logic.history import VERSION, HistoryError, SliceName, no_history
from udfs.logic.ledger import Tally
from udfs.logic.slice_counts import Known, SaltMemory, SliceCounts
from udfs.sinks.conditional_files import FolderFiles
from udfs.sinks.history_store import HistoryStore

NAME = SliceName(500, 3)
INFO = {"next_hour": 501, "first_offset": 1, "next_offset": 9, "records": 8, "gaps": [(2, 3)]}


@pytest.fixture
def store(tmp_path: Path) -> HistoryStore:
    return HistoryStore(pyarrow.fs.LocalFileSystem(), str(tmp_path / "history"))


def counts() -> SliceCounts:
    def table(schema: pa.Schema, *rows: tuple[object, ...]) -> pa.Table:
        return pa.table(dict(zip(schema.names, map(list, zip(*rows, strict=True)), strict=True)), schema=schema)

    cells = [
        (hour, shard, "view", f"v{n}", hour * 60 + n, n, 1) for hour in (498, 500) for shard in (0, 2) for n in range(3)
    ]
    sums = Sums(
        cells=table(CELLS, *cells),
        countries=table(
            COUNTRIES, (498, 0, "view", "v", "DE", 5), (498, 2, "view", "v", "", 6), (500, 2, "view", "v", "FR", 7)
        ),
        viewers=table(
            VIEWERS, (498, 2, "view", "v", 29_881, bytes(16), 1), (500, 2, "view", "v", 30_003, bytes(16), 2)
        ),
    )
    ids = np.frombuffer(b"".join(uuid.UUID(int=n).bytes for n in range(6)), np.uint64).reshape(-1, 2)
    return SliceCounts(
        sums=sums,
        known=Known(ids, np.array([498 * HOUR_MS + n for n in range(4)] + [500 * HOUR_MS] * 2)),
        memory={7: SaltMemory(b"header", [b"chunk", b"another"]), -4: SaltMemory(b"", [])},
        tallies={7: [Tally(30_000, received=4, counted=4)]},
        late=Counter({"added": 2}),
    )


def test_a_slice_is_read_as_it_was_written(store: HistoryStore) -> None:
    assert store.slice_info(NAME) is None
    written = counts()
    info = store.put_slice(NAME, written, INFO)
    assert store.slice_info(NAME) == info
    assert (info.partition, info.hour, info.next_offset, info.gaps) == (3, 500, 9, [(2, 3)])
    assert info.hours_viewed == {498, 500}
    assert info.tallies == {7: [written.tallies[7][0].values()]}
    assert store.memory(NAME) == written.memory
    want = written.sums.cells.filter((pa.compute.field("shard") == 2) & (pa.compute.field("hour") == 500))
    found = store.part("cells", info, 2, [500])
    assert found is not None
    assert found.equals(want.drop_columns(["shard", "hour"]))
    assert store.part("cells", info, 1, [500]) is None
    assert store.part("cells", info, 2, [499]) is None
    countries = store.part("countries", info, 2, range(490, 510))
    assert countries is not None
    assert countries.to_pylist() == written.sums.countries.slice(1).drop_columns(["shard", "hour"]).to_pylist()
    viewers = store.viewers(info, 2, [500])
    assert viewers is not None
    assert viewers["minute"].to_pylist() == [30_003]
    (known,) = store.known([info], 498)
    assert known.ids.tolist() == written.known.ids[:4].tolist()
    assert known.viewed_ms.tolist() == written.known.viewed_ms[:4].tolist()
    assert list(store.known([info], 499)) == []


def test_a_table_in_place_of_another_is_read_by_the_same_row_groups(store: HistoryStore) -> None:
    info = store.put_slice(NAME, counts(), INFO)
    (path,) = store.viewer_files()
    table = store.get(path)
    other = pa.array([bytes([n]) * 16 for n in range(table.num_rows)], pa.binary(16))
    at = table.schema.get_field_index("viewer")
    files = FolderFiles()
    before = store.read(files, path)
    assert before.table.equals(table)
    assert store.replace(files, path, before, table.set_column(at, table.schema.field(at), other))
    # Not over what is another by now.
    assert not store.replace(files, path, before, table)
    found = [store.viewers(info, shard, [hour]) for shard, hour in ((2, 498), (2, 500))]
    assert [None if part is None else part["viewer"].to_pylist() for part in found] == [
        [one] for one in other.to_pylist()
    ]
    assert store.get(path).drop_columns(["viewer"]).equals(table.drop_columns(["viewer"]))
    assert store.viewer_files() == [path]


def test_an_empty_slice_is_one_too(store: HistoryStore) -> None:
    nothing = counts()
    no_ids = Known(nothing.known.ids[:0], nothing.known.viewed_ms[:0])
    empty = SliceCounts(Sums(*(table.slice(0, 0) for table in nothing.sums[:3])), no_ids, {}, {}, Counter())
    info = store.put_slice(NAME, empty, INFO)
    assert info.hours_viewed == set()
    assert store.part("cells", info, 0, [500]) is None


def test_there_is_no_history_before_the_first_manifest_and_then_what_it_says(store: HistoryStore) -> None:
    nothing = no_history(4)
    assert store.manifest(4) == nothing
    after = msgspec.structs.replace(nothing, run=3, slices={7: [NAME]})
    store.publish(after)
    assert store.manifest(4) == after
    with pytest.raises(HistoryError, match=r"has 4 shards, counting\.shards is 5"):
        store.manifest(5)
    store.publish(msgspec.structs.replace(after, version=VERSION + 1))
    with pytest.raises(HistoryError, match=f"version {VERSION + 1}, this code reads {VERSION}: use newer code"):
        store.manifest(4)


def test_slices_go_when_nothing_they_count_for_can_change(store: HistoryStore) -> None:
    names = [SliceName(hour, 3) for hour in (400, 450, 500)]
    for name in names:
        store.put_slice(name, counts(), INFO)
    manifest = msgspec.structs.replace(
        no_history(1), last_slices={3: names[2]}, slices={449: [names[1]], 500: [names[2]]}
    )
    store.forget_slices(manifest)
    assert [store.slice_info(name) is not None for name in names] == [False, True, True]
    store.forget_slices(msgspec.structs.replace(manifest, slices={}))
    assert [store.slice_info(name) is not None for name in names] == [False, False, True]


def test_files_that_no_manifest_names_go(store: HistoryStore, tmp_path: Path) -> None:
    table = pa.table({"views": [1, 2]})
    for path in ("hours/viewed_day=2026-01-01/old.parquet", "hours/viewed_day=2026-01-01/new.parquet"):
        store.put(path, table)
    store.put_slice(NAME, counts(), INFO)
    manifest = no_history(1)
    manifest.files["hours"][5] = {0: "hours/viewed_day=2026-01-01/new.parquet"}
    assert store.keep_only(manifest) == 1
    assert store.get("hours/viewed_day=2026-01-01/new.parquet").equals(table)
    assert not (tmp_path / "history/hours/viewed_day=2026-01-01/old.parquet").exists()
    assert store.slice_info(NAME) is not None
