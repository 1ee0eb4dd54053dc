"""Making the register of history, restoring what was lost of it, and saying what is missing. On a local folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.fs
import pytest

from tests.support import golden_history as golden
from tests.support.golden_history import Hour
from tests.support.local_rollup import KEYS, LocalRollup, Row, metadata_records
from tests.support.memory_registers import MemoryRegisters
from tools.history import Findings, RegisterThereError, RestoreError, make_register, restore, verify
from udfs.logic.history.manifest import (
    MANIFEST,
    HistoryError,
    Manifest,
    SliceName,
    file_name,
    made_by,
    no_history,
    slice_folder,
)
from udfs.logic.history.register import (
    ABOVE_US,
    KEPT_MANIFESTS,
    TOKEN_STEP_US,
    Register,
    manifest_name,
    nothing_applied,
    token_of,
)
from udfs.stores.history_store import MEMORY, SLICE_FILES, HistoryStore
from udfs.stores.lease import LeaseHolder

NOW_MS = 1_764_300_000_000
TOKEN = NOW_MS * 1000 + ABOVE_US
SHARDS = 1
CHANGES = "day_history"
LISTS = ("top_videos_by_hour", "top_videos_by_day")


class Place:
    """A history and its register."""

    def __init__(self, folder: Path, registers: MemoryRegisters | None = None) -> None:
        self.folder = folder
        self.path = str(folder)
        self.store = HistoryStore(pyarrow.fs.LocalFileSystem(), self.path)
        self.registers = registers or MemoryRegisters()

    def make(self, *, totals: bool = False, begin_anew: bool = False) -> Register:
        return make_register(
            self.registers, self.store, self.path, now_ms=NOW_MS, has_totals=lambda: totals, begin_anew=begin_anew
        )

    def restore(self) -> str:
        return restore(self.registers, self.store, self.path, SHARDS, now_ms=NOW_MS)

    def verify(self) -> Findings:
        return verify(self.registers, self.store, self.path, SHARDS)

    def now(self) -> Register:
        found = self.registers.read()
        assert found is not None
        return found

    def lose(self, path: str) -> None:
        """A file, or all of a folder."""
        place = self.folder / path
        shutil.rmtree(place) if place.is_dir() else place.unlink()


def manifest_of(store: HistoryStore, token: int) -> Manifest:
    """One whose two files, and whose slice, are there."""
    made = made_by(token, "a")
    paths, name = [file_name("totals", 0, 0, made), file_name("days", 3, 0, made)], SliceName(5, 0, made=made)
    for path in (*paths, *(f"{slice_folder(name)}/{file}" for file in (*SLICE_FILES, MEMORY))):
        store.put(path, pa.table({"views": [1]}))
    manifest = msgspec.structs.replace(no_history(SHARDS), token=token, last_slices={0: name}, next_hours={0: 6})
    for data_set, at, path in (("totals", 0, paths[0]), ("days", 3, paths[1])):
        manifest.files[data_set][at] = {0: path}
    return manifest


@pytest.fixture
def empty(tmp_path: Path) -> Place:
    return Place(tmp_path / "history")


@pytest.fixture
def place(empty: Place) -> Place:
    """Five manifests, of which the oldest is not kept any more; nobody holds the lease."""
    names = []
    for number in range(KEPT_MANIFESTS + 2):
        token = TOKEN + number * TOKEN_STEP_US
        names.append(manifest_name(token, "a"))
        empty.store.put_manifest(names[-1], manifest_of(empty.store, token))
    applied = msgspec.structs.replace(nothing_applied(), manifest=names[-1], revision=token)
    made = Register(empty.path, NOW_MS, token, "", names[-1], tuple(names[1:-1]), applied)
    return Place(empty.folder, MemoryRegisters(made))


# --- making it


def test_a_new_pair_of_keyspace_and_path_begins_with_nothing(empty: Place) -> None:
    made = empty.make()
    # Its token is an hour above what any clock of before may have written.
    assert made == Register(empty.path, NOW_MS, TOKEN, "", "", (), nothing_applied())
    assert empty.now() == made
    assert not empty.folder.exists()


def test_a_register_that_is_there_stays_as_it_is(place: Place) -> None:
    before = place.now()
    assert place.make(totals=True) == place.make(totals=True, begin_anew=True) == before
    other = Place(place.folder.parent / "other", place.registers)
    with pytest.raises(
        HistoryError, match=rf"^history\.path={other.path}, and this keyspace's history is at {place.path}"
    ):
        other.make()
    assert place.now() == before


def test_totals_without_a_history_are_not_replaced_unless_that_is_asked_for(empty: Place) -> None:
    refusal = (
        rf"^the keyspace has totals, and there is no history at {empty.path}: set VIEW_COUNTS_HISTORY_PATH .*"
        "`python -m tools.ops history init --begin-anew` replaces the totals by what the archive still has$"
    )
    with pytest.raises(RegisterThereError, match=refusal):
        empty.make(totals=True)
    assert empty.registers.read() is None
    made = empty.make(totals=True, begin_anew=True)
    # The tables have nothing of it, so that there is no answer until a rollup has written every row.
    assert (made.manifest, made.applied) == ("", None)


def test_beginning_anew_where_there_are_no_totals_is_as_any_beginning(empty: Place) -> None:
    assert empty.make(begin_anew=True).applied == nothing_applied()


@pytest.mark.parametrize("begin_anew", [False, True])
def test_a_history_whose_register_was_lost_does_not_begin_anew(place: Place, *, begin_anew: bool) -> None:
    place.registers.lose()
    refusal = (
        rf"^{place.path} has a history, and this keyspace has no register, so the register was lost: run `python -m "
        r"tools\.ops history restore`, or use another path for a new keyspace$"
    )
    with pytest.raises(RegisterThereError, match=refusal):
        place.make(begin_anew=begin_anew)
    assert place.registers.read() is None


def test_a_history_without_a_register_is_carried_on(empty: Place) -> None:
    empty.folder.mkdir()
    old = (golden.FOLDER / "v3" / MANIFEST).read_bytes()
    (empty.folder / MANIFEST).write_bytes(old)
    made = empty.make(totals=True)
    assert (made.token, made.kept, token_of(made.manifest)) == (TOKEN, (), TOKEN)
    copied = empty.store.copied()
    assert copied is not None
    manifest = empty.store.manifest(made.manifest, golden.RULES.shards)
    assert manifest == msgspec.structs.replace(copied, token=TOKEN, made_ms=NOW_MS)
    # Its rows were written before it was.
    assert made.applied is not None
    assert (made.applied.manifest, made.applied.revision) == (made.manifest, TOKEN)
    assert made.applied.complete_through == manifest.complete_through
    assert made.applied.through_hour == golden.START_HOUR + golden.THROUGH
    # Readers of Parquet have what they had, and it is carried on once.
    assert (empty.folder / MANIFEST).read_bytes() == old
    assert empty.make(totals=True) == made
    assert empty.store.manifest_names() == [made.manifest]


def test_of_two_who_make_it_at_once_both_have_the_same(empty: Place) -> None:
    class Faster(MemoryRegisters):
        def swap(self, old: Register | None, new: Register) -> bool:
            super().swap(old, msgspec.structs.replace(new, token=5))
            return super().swap(old, new)

    empty.registers = Faster()
    assert empty.make().token == empty.now().token == 5


# --- restoring it


def test_where_nothing_is_lost_nothing_is_restored(place: Place, empty: Place) -> None:
    before = place.now()
    # What is missing of those that are kept is nothing that a restore could mend.
    place.lose(before.kept[0])
    with pytest.raises(RestoreError, match="nothing is lost: the register names a manifest that exists"):
        place.restore()
    assert place.now() == before
    new = Place(empty.folder.parent / "new")
    new.make()
    with pytest.raises(RestoreError, match="nothing is lost"):
        new.restore()
    with pytest.raises(HistoryError, match=r"^history\.path="):
        Place(new.folder, place.registers).restore()


def test_a_lost_manifest_is_replaced_by_the_newest_of_those_kept(place: Place) -> None:
    before = place.now()
    place.lose(before.manifest)
    # Of somebody who has not published it.
    place.store.put_manifest(manifest_name(before.token, "b"), manifest_of(place.store, before.token))
    assert place.restore() == before.kept[-1]
    assert place.now() == Register(
        place.path, before.made_ms, before.token + ABOVE_US, "", before.kept[-1], (), None
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["totals", "days", "slices"])
def test_the_newest_is_the_newest_of_those_that_are_whole(place: Place, kind: str) -> None:
    before = place.now()
    place.lose(before.manifest)
    newest = place.store.manifest(before.kept[-1], SHARDS)
    (of_slice,) = map(slice_folder, newest.all_slices)
    place.lose({"slices": of_slice, **{path.split("/")[0]: path for path in newest.all_files}}[kind])
    assert place.restore() == before.kept[-2]


def test_one_that_was_not_kept_is_not_put_in_force_though_it_is_there(place: Place) -> None:
    """Files that it alone names may be deleted at any time."""
    before = place.now()
    for name in (before.manifest, *before.kept):
        place.lose(name)
    assert len(place.store.manifest_names()) == 1
    refusal = rf"^no manifest at {place.path} has all of its files: put back what is missing"
    with pytest.raises(RestoreError, match=refusal):
        place.restore()
    assert place.now() == before


def test_a_lost_register_is_made_of_the_newest_manifest(place: Place) -> None:
    before = place.now()
    place.registers.lose()
    assert place.restore() == before.manifest
    assert place.now() == Register(place.path, NOW_MS, before.token + ABOVE_US, "", before.manifest, (), None)


def test_a_token_after_a_restore_is_an_hour_above_all_that_anybody_has_written(place: Place) -> None:
    """Also above that of one who still writes, and thinks that the lease is theirs."""
    newest = TOKEN + 10 * ABOVE_US
    path = file_name("hours", 3, 0, made_by(newest, "b"))
    place.store.put(path, pa.table({"views": [1]}))
    place.registers.lose()
    place.restore()
    assert place.now().token == newest + ABOVE_US
    with LeaseHolder(place.registers, place.path, "rollup", deadline_s=60, now_s=lambda: NOW_MS / 1000) as one:
        assert one.lease.token == newest + ABOVE_US + TOKEN_STEP_US


def test_whoever_takes_the_lease_meanwhile_is_not_overridden(place: Place) -> None:
    class Taken(MemoryRegisters):
        def swap(self, old: Register | None, new: Register) -> bool:
            there = self.read()
            assert there is not None
            super().swap(there, msgspec.structs.replace(there, token=there.token + 1, holder="rollup 1"))
            return super().swap(old, new)

    place.lose(place.now().manifest)
    place.registers = Taken(place.now())
    with pytest.raises(RestoreError, match="the register changed in the meantime, so a process holds the lease; wait"):
        place.restore()
    assert place.now().holder == "rollup 1"


def test_nothing_can_be_restored_of_nothing(empty: Place) -> None:
    with pytest.raises(RestoreError, match="begin a new pair of keyspace and path"):
        empty.restore()
    assert empty.registers.read() is None


@pytest.mark.slow
def test_after_a_restore_a_rollup_writes_every_row_again_and_goes_on(tmp_path: Path) -> None:
    kept = {"video-metadata": metadata_records(golden.CHANNELS)}
    one = LocalRollup(tmp_path / "one", golden.RULES, kept, **golden.HISTORY)
    for hours in golden.GOLDEN:
        one.archive(golden.records(hours))
        one.run()
    other = one.copy(tmp_path / "other")
    register = other.registers.read()
    assert register is not None
    other.store.delete(register.manifest)
    # In each table only a row that the lost history alone had.
    stale = {table: stale_row(rows, register.token) for table, rows in other.tables.items() if table != CHANGES}
    other.tables = {table: {keys_of(table, row): row} for table, row in stale.items()}
    path = other.settings.history.path
    restored = restore(other.registers, other.store, path, golden.RULES.shards, now_ms=NOW_MS)
    assert restored == register.kept[-1]
    for rollup in (one, other):
        # An hour closes beside what the lost one had counted.
        rollup.archive(golden.records([Hour(50, is_empty=True)]))
        rollup.run()
    assert other.manifest().next_offsets == one.manifest().next_offsets
    found, expected = ({name: keyed(rows) for name, rows in of.tables.items()} for of in (other, one))
    # What has become of days is told by the runs that changed them, of which there are none before the restored one.
    for tables in (found, expected):
        assert tables.pop(CHANGES)
    for table, row in stale.items():
        zero = found[table].pop(keys_of(table, row))
        value = "videos" if table in LISTS else "kinds" if table == "video_kinds" else "views"
        assert zero[value] in ([], "", b"", bytes(8)), table
    assert len(stale) == len(expected)
    assert found == expected


def stale_row(rows: Mapping[tuple[object, ...], Row], token: int) -> Row:
    """One like those of a table, of a name that none of them has."""
    row = Row()
    row.update(next(iter(rows.values())))
    name = next(name for name in ("video_id", "channel_id", "country") if name in row)
    row[name] = b"nobody" if isinstance(row[name], bytes) else "nobody"
    if "kinds" in row:
        row["kinds"] = row["kinds"] or '["view"]'
    else:
        row |= {"videos": [("nobody", 7)]} if "videos" in row else {"views": (7).to_bytes(8, "big")}
    row.written = dict.fromkeys(row, token)
    return row


def keys_of(table: str, row: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(row[name] for name in KEYS[table])


def keyed(rows: Mapping[tuple[object, ...], dict[str, object]]) -> dict[tuple[object, ...], dict[str, object]]:
    return {key: dict(row) for key, row in rows.items()}


# --- looking at it


def test_a_whole_history_lacks_nothing(place: Place) -> None:
    register = place.now()
    # The two files of the manifest that is not kept any more.
    assert place.verify() == Findings(register.manifest, register.token, [], {}, 2, owes_rows=False)
    assert place.verify().is_whole


def test_what_is_missing_is_named_by_manifest(place: Place) -> None:
    register = place.now()
    newest = place.store.manifest(register.manifest, SHARDS)
    (of_slice,) = map(slice_folder, newest.all_slices)
    totals = newest.files["totals"][0][0]
    for path in (register.kept[1], totals, of_slice):
        place.lose(path)
    found = place.verify()
    assert found.missing_manifests == [register.kept[1]]
    assert found.missing_files == {register.manifest: sorted([of_slice, totals])}
    # Of the one that is lost it is not known any more what it names.
    assert found.unnamed == 4
    assert not found.is_whole
    # One alone is enough.
    place.lose(register.manifest)
    only_manifests = place.verify()
    assert (only_manifests.missing_files, only_manifests.is_whole) == ({}, False)


def test_a_manifest_that_this_code_cannot_read_is_not_whole(place: Place) -> None:
    register = place.now()
    place.store.put_manifest(register.kept[0], no_history(SHARDS + 1))
    assert place.verify().missing_files == {
        register.kept[0]: [
            (
                f"{register.kept[0]} was made by counting.shards=2, and the settings say 1, which is fixed: set "
                "VIEW_COUNTS_COUNTING_SHARDS=2, or count again from the archive, to another path"
            )
        ]
    }


def test_rows_that_are_owed_are_told_of(place: Place) -> None:
    register = place.now()
    assert register.applied is not None
    for applied in (None, msgspec.structs.replace(register.applied, manifest=register.kept[-1])):
        place.registers = MemoryRegisters(msgspec.structs.replace(register, applied=applied))
        found = place.verify()
        assert (found.owes_rows, found.is_whole) == (True, True)
        assert found.revision == (0 if applied is None else register.token)


def test_without_a_register_there_is_nothing_to_look_at(empty: Place, place: Place) -> None:
    with pytest.raises(HistoryError, match=r"no register of history: `python -m tools\.ops history init` makes it"):
        Place(empty.folder).verify()
    with pytest.raises(HistoryError, match=r"^history\.path="):
        Place(empty.folder / "other", place.registers).verify()
