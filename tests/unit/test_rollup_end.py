"""What a rollup deletes at its end, and what it leaves: on a local folder, under a lease in memory."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.fs
import pytest

from settings import Settings
from tests.support.free_register import register_of
from tests.support.memory_registers import MemoryRegisters
from udfs.logic.history.manifest import (
    Counted,
    Manifest,
    SliceName,
    file_name,
    made_by,
    no_history,
    part_name,
    slice_folder,
)
from udfs.logic.history.register import manifest_name
from udfs.stages.rollup_end import RollupEnd, applied_of
from udfs.stores.archive import ArchiveFile
from udfs.stores.conditional_files import FolderFiles
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import LeaseHolder, LeaseLostError

SHARDS = 1
NOW_HOUR = int(datetime.now(UTC).timestamp()) // 3600


class Archived:
    """Stands for the archive: files of these hours of arrival."""

    def __init__(self, folder: Path, hours: Iterable[int]) -> None:
        self._files = [ArchiveFile(hour, 0, str(folder / f"{hour}.avro"), 0, 0.0) for hour in hours]
        folder.mkdir(exist_ok=True)
        for file in self._files:
            Path(file.path).touch()

    def files(self) -> list[ArchiveFile]:
        return [file for file in self._files if Path(file.path).exists()]


class Place:
    """A history whose rollups publish nothing but a file or two."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        plain = Settings()
        history = plain.history.model_copy(update={"path": str(folder / "history")})
        counting = plain.counting.model_copy(update={"shards": SHARDS})
        self.settings = plain.model_copy(update={"history": history, "counting": counting})
        self.store = HistoryStore(pyarrow.fs.LocalFileSystem(), history.path)
        self.registers: MemoryRegisters = register_of(history.path)
        self.archive: Any = Archived(folder / "archive", [])
        self.rules: list[str] = []

    def hold(self) -> LeaseHolder:
        return LeaseHolder(self.registers, self.settings.history.path, "rollup", deadline_s=60)

    def put(self, path: str) -> str:
        self.store.put(path, pa.table({"views": [1]}))
        return path

    def run(self, **fields: Any) -> str:
        """A rollup that replaces the totals by a file of its own; the path of that one."""
        with self.hold() as one:
            path = self.put(file_name("totals", 0, 0, made_by(one.lease.token, "a")))
            manifest = msgspec.structs.replace(no_history(SHARDS), run=1, token=one.lease.token, **fields)
            manifest.files["totals"][0] = {0: path}
            self.end(one, manifest)
        return path

    def end(self, one: LeaseHolder, manifest: Manifest) -> None:
        name = manifest_name(one.lease.token, "a")
        self.store.put_manifest(name, manifest)
        one.lease.publish(name)
        self.ending(one).end(name)

    def ending(self, one: LeaseHolder) -> RollupEnd:
        return RollupEnd(self.settings, self.store, self.archive, FolderFiles(), one.lease, lambda: self.rules)

    def store_token(self) -> int:
        """Of the last lease."""
        register = self.registers.read()
        assert register is not None
        return register.token

    def there(self) -> set[str]:
        """Files of data sets, parts and slices."""
        root = self.folder / "history"
        files = {str(path.relative_to(root)) for path in root.rglob("*.*") if path.is_file()}
        return {path for path in files if not path.startswith("manifest")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_files_that_no_kept_manifest_names_go(place: Place) -> None:
    left_over = [
        place.put(path)
        for path in (
            file_name("hours", 5, 0, made_by(1, "died")), part_name("channels", 0, made_by(1, "died")),
            "totals/shard-0000-run-00000012.parquet",
        )
    ]  # fmt: skip
    made = [place.run()]
    assert place.there() == {*made}
    for _ in range(5):
        made.append(place.run())
        # The one in force and the three before it.
        assert place.there() == set(made[-4:])
        assert len(place.store.manifest_names()) == min(len(made), 4)
    assert not set(left_over) & place.there()


def test_slices_go_when_no_kept_manifest_counts_them_or_may_count_them_again(place: Place) -> None:
    names = [SliceName(hour, 0, made=made_by(1, "a")) for hour in (400, 450, 470, 500)]
    folders = [slice_folder(name) for name in names]
    for folder in folders:
        place.put(f"{folder}/cells.parquet")
    again = {0: [Counted(names[2], 0, 9, 471)]}
    place.run(slices={449: [names[1]]}, counted=again, last_slices={0: names[3]}, next_hours={0: 501})
    assert slices_there(place) == set(folders[1:])
    for _ in range(3):
        place.run(last_slices={0: names[3]})
        # A manifest that may be restored counts them.
        assert slices_there(place) == set(folders[1:])
    place.run(last_slices={0: names[3]})
    assert slices_there(place) == {folders[3]}


def slices_there(place: Place) -> set[str]:
    return {path.rsplit("/", 1)[0] for path in place.there() if path.startswith("slices/")}


def test_nothing_goes_of_whoever_writes_now_or_later(place: Place) -> None:
    with place.hold() as one:
        mine, later = (
            place.put(file_name("hours", 5, 0, made_by(one.lease.token + more, "x"))) for more in (0, 1_000)
        )  # fmt: skip
        place.end(one, msgspec.structs.replace(no_history(SHARDS), token=one.lease.token))
    assert place.there() == {mine, later}


def test_what_is_not_historys_own_is_left_alone_and_stops_nobody(place: Place) -> None:
    place.run()
    for path in ("hours/notes.txt", "manifests/mine.json", "slices/readme.md"):
        place.put(path)
    place.run()
    assert {"hours/notes.txt", "slices/readme.md"} <= place.there()
    assert place.store.newest_token() == place.store_token()
    assert "manifests/mine.json" not in place.store.manifest_names()


def test_nothing_goes_while_a_kept_manifest_is_missing(place: Place) -> None:
    made = [place.run() for _ in range(2)]
    left_over = place.put(file_name("hours", 5, 0, made_by(1, "died")))
    register = place.registers.read()
    assert register is not None
    place.store.delete(register.kept[-1])
    made.append(place.run())
    assert place.there() == {*made, left_over}


def test_nothing_goes_when_the_lease_does(place: Place) -> None:
    made, left_over = place.run(), place.put(file_name("hours", 5, 0, made_by(1, "died")))
    with place.hold() as one:
        name = manifest_name(one.lease.token, "a")
        place.store.put_manifest(name, no_history(SHARDS))
        one.lease.publish(name)
        taken = place.registers.read()
        assert taken is not None
        place.registers.swap(taken, msgspec.structs.replace(taken, token=taken.token + 1, holder="other"))
        with pytest.raises(LeaseLostError):
            place.ending(one).end(name)
    assert place.there() == {made, left_over}


def test_raw_events_go_when_all_kept_manifests_have_counted_them_for_good(place: Place) -> None:
    hours = [NOW_HOUR - ago for ago in (400, 300, 200, 10)]
    place.archive = Archived(place.folder / "archive", hours)

    def left() -> list[int]:
        return [file.hour for file in place.archive.files()]

    place.run(forgotten_before=NOW_HOUR, last_slices={0: SliceName(hours[1], 0)})
    # 200 hours ago is old enough, and was not counted.
    assert left() == hours[2:]
    for _ in range(3):
        place.run(forgotten_before=NOW_HOUR, last_slices={0: SliceName(hours[3], 0)})
        assert left() == hours[2:]
    place.run(forgotten_before=NOW_HOUR, last_slices={0: SliceName(hours[3], 0)})
    assert left() == hours[3:]


def test_it_is_said_what_the_tables_have_and_what_operators_should_know(place: Place) -> None:
    place.rules = ["bucket b has a rule"]
    place.archive = Archived(place.folder / "archive", [NOW_HOUR - 400])
    fields: dict[str, Any] = {
        "from_hour": 3, "through_hour": 9, "next_hours": {0: 12, 1: 10}, "gap_hours": [4, 5, 7],
        "counted": {1: [Counted(SliceName(5, 1), 0, 9, 6, [(2, 4)])]},
    }  # fmt: skip
    place.run(**fields)
    register = place.registers.read()
    assert register is not None
    manifest = place.store.manifest(register.manifest, SHARDS)
    assert register.applied is not None
    first, second = register.applied.warnings
    assert first == "bucket b has a rule"
    assert "1 files of raw events are older than archive.kept_days=7" in second
    assert register.applied == applied_of(register.manifest, manifest, [first, second])
    applied = register.applied
    assert (applied.revision, applied.from_hour, applied.through_hour) == (manifest.token, 3, 9)
    # What is late has been added as far as the slowest partition is.
    assert (applied.late_through_hour, applied.gap_hours, applied.missing) == (10, [(4, 5), (7, 7)], {1: 3})
    assert place.store.copied() == manifest
