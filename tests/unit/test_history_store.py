"""What is written to history is read from it, by row group and by the names of manifests. On a local folder."""

import dataclasses
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.fs
import pytest

from settings.durations import HOUR_MS
from tools.history.repeating import repeats_told
from udfs.logic.history.manifest import (
    MANIFEST,
    VERSION,
    Counted,
    HistoryError,
    Manifest,
    SliceName,
    file_name,
    made_by,
    no_history,
    part_name,
    read_manifest,
    slice_folder,
)
from udfs.logic.history.register import manifest_name
from udfs.logic.slices import id_buckets
from udfs.logic.slices.audience import CELLS, COUNTRIES, VIEWERS, Sums
from udfs.logic.slices.repeats import SAMPLES, SeenIds
from udfs.logic.slices.slice_counts import SaltMemory, SliceCounts
from udfs.logic.stream.ledger import Tally
from udfs.stores.conditional_files import FolderFiles
from udfs.stores.history_store import HistoryStore

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
            COUNTRIES,
            (498, 0, "view", "v", "DE", "tv", 5),
            (498, 2, "view", "v", "", "", 6),
            (500, 2, "view", "v", "FR", "phone", 7),
        ),
        viewers=table(
            VIEWERS, (498, 2, "view", "v", 29_881, bytes(16), 1), (500, 2, "view", "v", 30_003, bytes(16), 2)
        ),
    )
    ids = np.frombuffer(b"".join(uuid.UUID(int=n).bytes for n in range(6)), np.uint64).reshape(-1, 2)
    return SliceCounts(
        sums=sums,
        known=SeenIds(ids, np.array([498 * HOUR_MS + n for n in range(4)] + [500 * HOUR_MS] * 2)),
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
    (known,) = store.known([info], 498, written.known.ids)
    assert known.ids.tolist() == written.known.ids[:4].tolist()
    assert known.viewed_ms.tolist() == written.known.viewed_ms[:4].tolist()
    assert list(store.known([info], 499, written.known.ids)) == []


def test_of_an_hour_of_many_ids_few_are_read_for_one(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_buckets, "BUCKET_ROWS", 100)
    # As a client may choose them: one after the other.
    ids = np.stack([np.zeros(4000, np.uint64), np.arange(4000, dtype=np.uint64)], axis=1)
    hours = np.where(np.arange(4000) % 40 == 39, 400, 498)
    written = SliceCounts(counts().sums, SeenIds(ids, hours * HOUR_MS + np.arange(4000)), None, {}, Counter())
    info = store.put_slice(NAME, written, INFO)
    for hour in (400, 498):
        mine = written.known.hours == hour
        (everything,) = store.known([info], hour, ids)
        assert sorted(everything.viewed_ms.tolist()) == written.known.viewed_ms[mine].tolist()
        for place in np.nonzero(mine)[0][::97].tolist():
            (known,) = store.known([info], hour, ids[place : place + 1])
            assert written.known.viewed_ms[place] in known.viewed_ms[(known.ids == ids[place]).all(axis=1)]
            assert len(known.ids) <= 200
    assert sum(rows for _, rows in info.known) == 4000


def test_ids_that_lie_in_one_row_group_are_found(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # As code that knew no buckets has written them.
    monkeypatch.setattr(id_buckets, "BUCKETS_MAX", 1)
    monkeypatch.setattr(id_buckets, "BUCKET_ROWS", 2)
    written = counts()
    info = store.put_slice(NAME, written, INFO)
    assert [hour for hour, _ in info.known] == [498, 500]
    for place in range(4):
        (known,) = store.known([info], 498, written.known.ids[place : place + 1])
        assert known.ids.tolist() == written.known.ids[:4].tolist()


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
    no_ids = SeenIds(nothing.known.ids[:0], nothing.known.viewed_ms[:0])
    empty = SliceCounts(Sums(*(table.slice(0, 0) for table in nothing.sums[:3])), no_ids, {}, {}, Counter())
    info = store.put_slice(NAME, empty, INFO)
    assert info.hours_viewed == set()
    assert store.part("cells", info, 0, [500]) is None


def test_there_is_no_history_before_the_first_manifest_and_then_what_it_says(store: HistoryStore) -> None:
    nothing = no_history(4)
    assert store.manifest("", 4) == nothing
    assert store.manifest_names() == []
    name = manifest_name(7, "a")
    after = msgspec.structs.replace(nothing, run=3, slices={7: [NAME]}, token=7)
    store.put_manifest(name, after)
    assert store.manifest(name, 4) == after
    # Whoever has no history yet is not told of it by its files: the register names what is in force.
    assert store.manifest("", 4) == nothing
    with pytest.raises(HistoryError, match=r"was made by counting\.shards=4, and the settings say 5"):
        store.manifest(name, 5)
    store.put_manifest(name, msgspec.structs.replace(after, version=VERSION + 1))
    with pytest.raises(HistoryError, match=f"version {VERSION + 1}, this code reads {VERSION}: use newer code"):
        store.manifest(name, 4)


def test_a_manifest_that_the_register_names_and_that_is_gone_is_no_empty_history(store: HistoryStore) -> None:
    name = manifest_name(7, "a")
    store.put_manifest(manifest_name(6, "b"), no_history(4))
    with pytest.raises(HistoryError, match=rf"{name} is not there, .*: type `python -m tools\.ops history restore`"):
        store.manifest(name, 4)


def test_manifests_are_listed_by_their_tokens(store: HistoryStore, tmp_path: Path) -> None:
    names = [manifest_name(token, attempt) for token, attempt in ((5, "z"), (40, "b"), (300, "a"))]
    for name in reversed(names):
        store.put_manifest(name, no_history(1))
    # Not the copy, nor what somebody has put beside them.
    store.copy(no_history(1))
    (tmp_path / "history/manifests/notes.txt").write_text("mine")
    assert store.manifest_names() == names


def test_readers_of_parquet_find_a_copy_of_the_newest(store: HistoryStore, tmp_path: Path) -> None:
    assert store.copied() is None
    for run in (1, 2):
        store.copy(msgspec.structs.replace(no_history(4), run=run))
    assert store.copied() == msgspec.structs.replace(no_history(4), run=2)
    assert msgspec.json.decode((tmp_path / "history" / MANIFEST).read_bytes())["run"] == 2
    # And nothing else: whatever else it was written to has been moved.
    assert [path.name for path in (tmp_path / "history").iterdir()] == [MANIFEST]


def test_slices_of_a_lease_are_found_by_part_and_no_others(store: HistoryStore) -> None:
    mine = [SliceName(500, 3, part, made_by(7, attempt)) for part, attempt in ((0, "a"), (1, "a"), (1, "b"))]
    others = [SliceName(500, 3, 2, made_by(8, "a")), *(SliceName(*of, 0, mine[0].made) for of in ((500, 4), (501, 3)))]
    for name in (*reversed(mine), *others):
        store.put_slice(name, counts(), INFO)
    # One that was not written to its end.
    unfinished = SliceName(500, 3, 5, made_by(7, "a"))
    store.put(f"{slice_folder(unfinished)}/cells.parquet", pa.table({"a": [1]}))
    # One of version 3, without a token.
    store.put_slice(SliceName(500, 3, 6), counts(), INFO)
    assert [info.name for info in store.slices_of(7, 500, 3)] == mine[:2]
    assert [info.name for info in store.slices_of(8, 500, 3)] == [others[0]]
    assert store.slices_of(7, 499, 3) == []


def named(store: HistoryStore) -> Manifest:
    """A manifest all of whose files are there."""
    path, name = file_name("totals", 0, 0, made_by(7, "a")), SliceName(500, 3, 0, made_by(7, "a"))
    store.put(path, pa.table({"views": [1, 2]}))
    store.put_slice(name, counts(), INFO)
    manifest = msgspec.structs.replace(no_history(1), last_slices={3: name})
    manifest.files["totals"][0] = {0: path}
    return manifest


def test_files_that_a_manifest_names_and_that_are_gone_are_found(store: HistoryStore) -> None:
    manifest = named(store)
    assert store.missing_files(manifest) == []
    gone_slice, gone = SliceName(499, 3, 0, made_by(6, "a")), file_name("days", 5, 0, made_by(6, "a"))
    manifest.files["days"][5] = {0: gone}
    manifest.slices[499] = [gone_slice]
    assert store.missing_files(manifest) == sorted([gone, slice_folder(gone_slice)])
    (path,) = manifest.files["totals"][0].values()
    store.delete(path)
    # It is as well when somebody else has deleted it.
    store.delete(path)
    assert store.missing_files(manifest) == sorted([gone, slice_folder(gone_slice), path])


def test_what_holders_before_one_have_written_is_listed_of_all_kinds(store: HistoryStore) -> None:
    assert (store.newest_token(), store.files_below(100)) == (0, [])
    manifest = named(store)
    store.put_manifest(manifest_name(7, "a"), manifest)
    store.put(part_name("channels", 0, made_by(8, "a")), pa.table({"a": [1]}))
    old = "totals/shard-0000-run-00000012.parquet"
    store.put(old, pa.table({"a": [1]}))
    store.copy(manifest)
    (path,) = manifest.all_files
    of_slice = [
        f"{slice_folder(manifest.last_slices[3])}/{file}"
        for file in (
            *(f"{part}.parquet" for part in ("cells", "countries", "known", "viewers")),
            "memory.bin",
            "slice.json",
        )
    ]
    assert store.newest_token() == 8
    assert store.files_below(7) == [old]
    assert sorted(store.files_below(8)) == sorted([old, path, manifest_name(7, "a"), *of_slice])
    assert set(store.files_below(9)) - set(store.files_below(8)) == {part_name("channels", 0, made_by(8, "a"))}


def test_so_is_a_file_of_a_slice_of_which_others_are_there(store: HistoryStore) -> None:
    manifest = named(store)
    (name,) = manifest.last_slices.values()
    for file in ("cells.parquet", "memory.bin"):
        store.delete(f"{slice_folder(name)}/{file}")
    assert store.missing_files(manifest) == [f"{slice_folder(name)}/{file}" for file in ("cells.parquet", "memory.bin")]


def test_what_is_known_has_the_hashes_that_it_was_written_with_or_none(store: HistoryStore) -> None:
    written = counts()
    old = store.put_slice(NAME, written, INFO)
    subjects = np.arange(6, dtype=np.uint64) << np.uint64(60)
    known = written.known._replace(subjects=subjects)
    new_name = msgspec.structs.replace(NAME, part=NAME.part + 1)
    new = store.put_slice(new_name, dataclasses.replace(written, known=known), {**INFO, "next_hour": 501})
    first, second = store.known_of_hours([old, new], (498, 500), known.ids)
    assert first.subjects is None
    assert second.subjects is not None
    assert second.subjects.tolist() == subjects.tolist()
    assert second.ids.tolist() == first.ids.tolist()


def test_repeats_of_a_slice_are_kept_with_it(store: HistoryStore) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rows = {"event_id": [bytes(16)], "viewed_at": [at], "first_viewed_at": [at], "video_id": ["v"], "kind": ["view"]}
    samples = pa.table({**rows, "reason": ["conflicting"]}, schema=SAMPLES)
    written = dataclasses.replace(counts(), repeats=Counter({"same": 5, "conflicting": 1}), samples=samples)
    info = store.put_slice(NAME, written, INFO)
    assert store.slice_info(NAME) == info
    assert info.repeats == {"same": 5, "conflicting": 1}
    assert store.repeats(NAME) == samples
    manifest = msgspec.structs.replace(no_history(1), counted={3: [Counted(NAME, 0, 9, 501, conflicting=1)]})
    (told,) = repeats_told(store, read_manifest(msgspec.json.encode(manifest)), 3)
    assert (told["conflicting"], told["restamped"], told["samples"][0]["video_id"]) == (1, 0, "v")
