"""Whoever is erased, whatever they viewed and wherever the command was killed: a recount comes to the same numbers."""

import collections
import os
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.fs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import registry
from settings import ArchiveSettings, CountingSettings, ErasureSettings, HistorySettings, Settings
from settings.durations import DAY_MS
from tests.support.archived import HOUR_MS, BlockTopic, put_archive_file
from tests.support.free_register import register_of
from tests.support.memory_registers import MemoryRegisters
from tests.support.random_streams import BLOCKED, MINUTE_MS, NOW_MS, RULE_SETS, RULES, Record, random_log
from tests.support.tiers import examples
from tools import block_list
from tools.erasure import ErasureError, Report, Stores, erase, erase_again
from udfs.logic.erasure.erasures import Eraser
from udfs.logic.history.manifest import HistoryError, Owed, SliceInfo, SliceName, no_history
from udfs.logic.history.register import manifest_name, nothing_applied, token_of
from udfs.logic.history.viewer_days import viewer_days
from udfs.logic.slices.slice_counts import SliceCounter, SliceCounts
from udfs.logic.stream.block_list import FOR_GOOD_MS
from udfs.logic.stream.block_table import Period
from udfs.stores import archive as archives
from udfs.stores.archive import Archive
from udfs.stores.conditional_files import FolderFiles
from udfs.stores.erasure_list import ErasureList
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import Lease, LeaseLostError

PARTITIONS = 2
NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)
LATE_MS_MAX = 6 * DAY_MS
# Blocked for a while, for good and never, none of whose ids is a part of another's.
VIEWERS = st.sampled_from(["viewer-é", "viewer-2", "other"])
# Blocked for a while too; others' ids begin with it.
SOMEBODY = "viewer-1"


def no_topic(_at: object, _topic: str) -> None:
    """What a broker says of the pack job's source, where there is none."""


class Place:
    """An archive of a random stream, and the slices of a first part of it."""

    def __init__(self, root: Path, seed: int, rules: CountingSettings) -> None:
        self.root = root
        self.rules = rules
        self.settings = Settings(
            counting=rules,
            # A local folder, which is no URL.
            archive=ArchiveSettings().model_copy(update={"path": f"{root}/archive"}),
            history=HistorySettings().model_copy(update={"path": f"{root}/history"}),
            erasure=ErasureSettings().model_copy(update={"path": f"{root}/erasures"}),
        )
        self.store: Any = pyarrow.fs.LocalFileSystem()
        self.conditional: Any = FolderFiles()
        self.registers: Any = register_of(self.path("history"))
        self.topic = BlockTopic()
        for viewer, periods in BLOCKED.items():
            of = [
                Period(NOW_MS + begin * MINUTE_MS, FOR_GOOD_MS if end is None else NOW_MS + end * MINUTE_MS)
                for begin, end in periods
            ]
            with self.topic.in_place():
                block_list.stand_in(self.settings.kafka, viewer, of)
        r = random.Random(seed)
        self._put(r, random_log(r, rules))
        self.files = sorted((root / "archive").rglob("part-*"))

    def path(self, folder: str) -> str:
        return f"{self.root}/{folder}"

    def _put(self, r: random.Random, log: list[list[Record]]) -> None:
        """Files of some records each, of two subtasks that take turns."""
        for partition in range(PARTITIONS):
            left = {salt: list(log[salt]) for salt in range(RULES.salts) if salt % PARTITIONS == partition}
            offset = 0
            files: dict[tuple[int, int, int], list[archives.Record]] = collections.defaultdict(list)
            while any(left.values()):
                salt = r.choice([salt for salt, records in left.items() if records])
                stamp, value, _, _ = left[salt].pop(0)
                record = archives.Record(offset, stamp, salt.to_bytes(4, "big"), value)
                if r.random() < 0.02:
                    record = r.choice([record._replace(value=value[:-1]), record._replace(key=viewer_bytes(r))])
                files[stamp // HOUR_MS, offset // 40, r.randrange(2)].append(record)
                offset += 1
            for (hour, roll, subtask), records in files.items():
                codec = r.choice(["deflate", "null"])
                put_archive_file(self.root / "archive", hour, partition, f"part-{roll}-{subtask}", records, codec=codec)

    def count(self) -> dict[int, SliceCounts]:
        """Every partition from scratch, as one slice."""
        archive = Archive(self.store, self.path("archive"))
        return {
            partition: self._count(
                partition, archive.read_partition(file for file in archive.files() if file.partition == partition)
            )
            for partition in range(PARTITIONS)
        }

    def _count(self, partition: int, records: Iterable[archives.Record]) -> SliceCounts:
        counter = SliceCounter(
            self.rules,
            partition=partition,
            partitions=PARTITIONS,
            blocks=self.topic.table(),
            late_ms_max=LATE_MS_MAX,
            viewed_ms_min=0,
            dedups={},
        )
        for record in records:
            counter.count(record.key, record.value, record.record_ms)
        return counter.finish(lambda _hour, _ids: ())

    def put_slices(self, counts: dict[int, SliceCounts]) -> list[SliceInfo]:
        history = HistoryStore(self.store, self.path("history"))
        fields = {"next_hour": 1, "first_offset": 0, "next_offset": 1, "records": 1, "gaps": []}
        return [history.put_slice(SliceName(0, partition), one, fields) for partition, one in counts.items()]

    @property
    def stores(self) -> Stores:
        return Stores(self.store, self.conditional, self.registers, sleep=lambda _s: None, kept_ms=no_topic)

    def erase(self, *viewers: str, **options: bool) -> Report:
        with self.topic.in_place():
            return erase(self.settings, self.stores, viewers, NOW, **options)

    def again(self, now: datetime) -> Report:
        with self.topic.in_place():
            return erase_again(self.settings, self.stores, now)

    def contents(self) -> dict[str, bytes]:
        """Archive and history, byte for byte."""
        folders = (self.root / "archive", self.root / "history")
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for folder in folders
            for path in folder.rglob("*")
            if path.is_file()
        }


def viewer_bytes(r: random.Random) -> bytes:
    return r.choice(["viewer-é", "viewer-2", "other"]).encode()


def comparable(counts: dict[int, SliceCounts]) -> list[object]:
    """All that is counted, viewers as numbers."""
    return [
        (
            one.sums.cells.to_pylist(),
            by_country(one.sums.countries),
            one.known.ids.tolist(),
            one.known.viewed_ms.tolist(),
            one.memory,
            {salt: [tally.values() for tally in mine] for salt, mine in one.tallies.items()},
            one.late,
        )
        for one in counts.values()
    ]


def by_country(countries: pa.Table) -> collections.Counter[tuple[object, ...]]:
    """Without devices: those of an erased viewer leave the archive."""
    found: collections.Counter[tuple[object, ...]] = collections.Counter()
    for row in countries.to_pylist():
        found[row["hour"], row["kind"], row["video_id"], row["country"]] += row["views"]
    return found


def by_device(counts: dict[int, SliceCounts]) -> collections.Counter[str]:
    """All views."""
    found: collections.Counter[str] = collections.Counter()
    for one in counts.values():
        for row in one.sums.countries.to_pylist():
            found[row["device"]] += row["views"]
    return found


def unique(tables: list[pa.Table]) -> dict[tuple[str, str, int], int]:
    """Viewers by video, kind and day; and that their views are all there."""
    found: dict[tuple[str, str, int], int] = {}
    if not tables:
        return found
    table = pa.concat_tables([one.select(["video_id", "kind", "minute", "viewer", "views"]) for one in tables])
    days = [minute // 1440 for minute in table["minute"].to_pylist()]
    for day in set(days):
        mine = table.filter(pa.array([one == day for one in days]))
        viewers = viewer_days([mine])
        for row, number in zip(viewers.names.to_pylist(), np.bincount(viewers.name).tolist(), strict=True):
            found[row["video_id"], row["kind"], day] = number
    return found


def views_of_viewers(tables: list[pa.Table]) -> collections.Counter[tuple[str, str, int, int]]:
    """How often there was a viewer with so many views of a video and kind on a day."""
    views: collections.Counter[tuple[str, str, int, bytes]] = collections.Counter()
    for table in tables:
        for row in table.to_pylist():
            views[row["video_id"], row["kind"], row["minute"] // 1440, row["viewer"]] += row["views"]
    return collections.Counter((*place[:3], n) for place, n in views.items())


def slices_viewers(place: Place, infos: list[SliceInfo]) -> list[pa.Table]:
    """As a rollup reads them: by row group."""
    history = HistoryStore(place.store, place.path("history"))
    hours = range(-(1 << 40), 1 << 40)
    found = (history.viewers(info, shard, hours) for info in infos for shard in range(RULES.shards))
    return [table for table in found if table is not None]


def names_in(place: Place) -> collections.Counter[str | None]:
    """Every viewer_id of the archive, by the independent reader."""
    found: collections.Counter[str | None] = collections.Counter()
    archive = Archive(place.store, place.path("archive"))
    for file in archive.files():
        for record in archive.read(file):
            try:
                _, value = registry.decode(record.value or b"")
            except (EOFError, IndexError, registry.UnknownSchemaError):
                continue
            found.update(event["viewer_id"] for event in value["events"])
    return found


def offsets_of(place: Place) -> list[list[tuple[int, int]]]:
    archive = Archive(place.store, place.path("archive"))
    return [[(record.offset, record.record_ms) for record in archive.read(file)] for file in archive.files()]


@examples(full=12)
@given(st.integers(min_value=0, max_value=2**48), st.sampled_from(RULE_SETS), VIEWERS)
@pytest.mark.slow
def test_whatever_is_counted_is_counted_alike(seed: int, rules: CountingSettings, viewer: str) -> None:
    with TemporaryDirectory() as folder:
        place = Place(Path(folder), seed, rules)
        before = place.count()
        infos = place.put_slices(before)
        viewers_before, names_before, offsets = slices_viewers(place, infos), names_in(place), offsets_of(place)
        place.erase(viewer, SOMEBODY)
        after = place.count()
        assert comparable(after) == comparable(before)
        # What the erased viewers viewed by a device was viewed by an unknown one.
        gone = by_device(before) - by_device(after)
        assert by_device(after) - by_device(before) == collections.Counter({"": gone.total()})
        tables = {"before": viewers_before, "slices": slices_viewers(place, infos)}
        tables["recount"] = [one.sums.viewers for one in after.values()]
        for found in tables.values():
            assert unique(found) == unique(viewers_before)
            assert views_of_viewers(found) == views_of_viewers(viewers_before)
        assert offsets_of(place) == offsets
        names = names_in(place)
        assert not names.keys() & {viewer, SOMEBODY}
        assert sum(names.values()) == sum(names_before.values())
        assert {name: n for name, n in names.items() if not (name or "").startswith("erased:")} == {
            name: n for name, n in names_before.items() if name not in (viewer, SOMEBODY)
        }
        content = b"".join(
            (record.key or b"") + (record.value or b"")
            for file in Archive(place.store, place.path("archive")).files()
            for record in Archive(place.store, place.path("archive")).read(file)
        )
        assert viewer.encode() not in content
        # Nothing is left, and to erase again changes nothing.
        contents = place.contents()
        again = place.erase(viewer, SOMEBODY)
        assert (again.files_rewritten, again.slices_rewritten, again.records_emptied) == (0, 0, 0)
        assert place.contents() == contents


class Failing:
    """A store, or its conditional files, that fails at its n-th write or move; both have the same n."""

    def __init__(self, of: Any, left: list[int]) -> None:
        self._of = of
        self._left = left

    def __getattr__(self, name: str) -> Any:
        if name in ("open_output_stream", "move", "replace"):
            self._left[0] -= 1
            if self._left[0] < 0:
                raise OSError("the store is away")
        return getattr(self._of, name)


@pytest.mark.slow
def test_killed_at_any_write_and_run_again_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, with the same key."""
    monkeypatch.setattr("udfs.logic.erasure.erasures.secrets.token_hex", lambda octets: "5a" * octets)

    def place(name: str) -> Place:
        made = Place(tmp_path / name, 11, RULES)
        made.put_slices(made.count())
        (tmp_path / name / "erasures").mkdir()
        return made

    undisturbed = place("undisturbed")
    report = undisturbed.erase("viewer-2", "other")
    assert report.files_rewritten > 3
    assert report.slices_rewritten == PARTITIONS
    want = undisturbed.contents()
    killed = place("killed")
    counted = comparable(undisturbed.count())
    n = 0
    while True:
        left = [n]
        killed.store = Failing(pyarrow.fs.LocalFileSystem(), left)
        killed.conditional = Failing(FolderFiles(), left)
        try:
            killed.erase("viewer-2", "other")
            break
        except OSError:
            n += 1
            # A recount meanwhile comes to the same as well.
            assert comparable(killed.count()) == counted
    assert n > 5
    found = killed.contents()
    # What a reader does not see may be left of a write that failed.
    assert {path: content for path, content in found.items() if "/." not in path} == want


def test_until_slices_are_rewritten_a_viewer_is_one_all_the_same(tmp_path: Path) -> None:
    place = Place(tmp_path, 12, RULES)
    counts = place.count()
    infos = place.put_slices(counts)
    before = slices_viewers(place, infos)
    first_only = counts[0].sums.viewers
    place.erase("other", "viewer-2")
    after = place.count()
    eraser = Eraser(ErasureList(place.store, place.path("erasures")).open())
    mixed = [eraser.viewers(table)[0] for table in (first_only, after[1].sums.viewers)]
    assert unique(mixed) == unique(before)


def test_what_is_archived_later_is_erased_with_the_same_pseudonyms_until_it_closes(tmp_path: Path) -> None:
    place = Place(tmp_path, 30, RULES)
    # The archive job copies again from an older savepoint.
    file = place.files[0]
    copy = file.read_bytes()
    place.erase("other", "viewer-2")
    contents = place.contents()
    (file.parent / "part-again").write_bytes(copy)
    report = place.again(NOW)
    assert report.files_rewritten == 1
    found = place.contents()
    name = str((file.parent / "part-again").relative_to(tmp_path))
    assert found.pop(name) == contents[str(file.relative_to(tmp_path))]
    assert found == contents
    (viewer, *_) = report.viewers
    assert viewer.key_until is not None
    closing = place.again(viewer.key_until)
    assert [one.key_until for one in closing.viewers] == [None, None]
    assert closing.files_scanned == len(place.files) + 1
    assert not ErasureList(place.store, place.path("erasures")).open()
    nothing = place.again(viewer.key_until)
    assert (nothing.viewers, nothing.files_scanned) == ([], 0)
    # Asked again, it is another erasure, with other pseudonyms.
    (file.parent / "part-again").write_bytes(copy)
    assert place.erase("other", "viewer-2").files_rewritten == 1
    assert place.contents()[name] != contents[str(file.relative_to(tmp_path))]


def test_a_file_that_bears_the_time_when_its_upload_began_is_found_when_the_erasure_closes(tmp_path: Path) -> None:
    place = Place(tmp_path, 13, RULES)
    file = place.files[0]
    copy = file.read_bytes()
    (viewer, *_) = place.erase("other", "viewer-2").viewers
    late = file.parent / "part-late"
    late.write_bytes(copy)
    three_days_ago_s = file.stat().st_mtime - 3 * 86_400
    os.utime(late, (three_days_ago_s, three_days_ago_s))
    report = place.again(NOW)
    assert (report.files_scanned, report.files_rewritten) == (len(place.files), 0)
    assert viewer.key_until is not None
    assert place.again(viewer.key_until).files_rewritten == 1


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, 14, RULES)
    place.put_slices(place.count())
    contents, blocked = place.contents(), dict(place.topic.records)
    said = place.erase("viewer-2", dry_run=True)
    assert place.contents() == contents
    assert place.topic.records == blocked
    assert not (tmp_path / "erasures").exists()
    done = place.erase("viewer-2")
    for field in ("files_rewritten", "files_scanned", "records_emptied", "slices_rewritten"):
        assert getattr(said, field) == getattr(done, field)
    assert [(one.viewer, one.events, one.rows, one.blocked) for one in said.viewers] == [
        (one.viewer, one.events, one.rows, True) for one in done.viewers
    ]
    assert (said.passes, done.passes) == (1, 2)


def test_nobody_is_found_and_nobody_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path, 15, RULES)
    contents = place.contents()
    report = place.erase("nobody-at-all")
    assert [(one.events, one.files, one.rows, one.blocked) for one in report.viewers] == [(0, 0, 0, False)]
    assert report.files_scanned == len(place.files)
    assert place.contents() == contents
    with pytest.raises(ErasureError, match="viewer_id='' names no viewer"):
        place.erase("")


def test_blocks_of_an_erased_viewer_stand_under_the_pseudonym_and_the_name_goes_in_the_end(tmp_path: Path) -> None:
    place = Place(tmp_path, 16, RULES)
    with place.topic.in_place():
        periods = block_list.periods(place.settings.kafka)["viewer-1"]
    place.erase("viewer-1")
    with place.topic.in_place():
        listed = block_list.periods(place.settings.kafka)
        (name,) = [name for name in listed if name.startswith("erased:")]
        assert listed[name] == listed["viewer-1"] == periods
        # What changes for the viewer changes for the pseudonym, by the next run.
        block_list.block(place.settings.kafka, ["viewer-1"])
    place.again(NOW)
    report = place.erase("viewer-1", unlist=True)
    with place.topic.in_place():
        listed = block_list.periods(place.settings.kafka)
    assert listed[name] == listed["viewer-1"]
    assert len(listed[name]) > len(periods)
    assert all(period.until_ms < FOR_GOOD_MS for period in listed[name])
    (viewer,) = report.viewers
    assert viewer.key_until is not None
    place.again(viewer.key_until)
    with place.topic.in_place():
        after = block_list.periods(place.settings.kafka)
    assert after == {who: of for who, of in listed.items() if who != "viewer-1"}


def test_a_viewer_who_keeps_coming_ends_the_command_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, 17, RULES)
    # Whatever is written is as it was before.
    monkeypatch.setattr(place.conditional, "replace", lambda *_: True)
    with pytest.raises(ErasureError, match="pass 5 still found events"):
        place.erase("other")


class Pausing(FolderFiles):
    """Files before whose first replacements something else is done."""

    def __init__(self, *before: Callable[[str], object]) -> None:
        self._before = list(before)
        self.refused = 0

    def replace(self, path: str, content: bytes, tag: str) -> bool:
        if self._before:
            self._before.pop(0)(path)
        is_replaced = super().replace(path, content, tag)
        self.refused += not is_replaced
        return is_replaced


def free(place: Place) -> None:
    """As if the holder of the lease had said nothing for a minute: the next one takes it at once."""
    there = place.registers.read()
    place.registers.swap(there, msgspec.structs.replace(there, holder=""))


def test_two_erasures_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """The first one is paused with a file that it has read, past its check of the lease; the other runs to its end."""
    place = Place(tmp_path, 18, RULES)
    place.put_slices(place.count())
    counted = comparable(place.count())
    other: list[Report] = []

    def meanwhile(_path: str) -> None:
        free(place)
        stores = Stores(place.store, FolderFiles(), place.registers, sleep=lambda _s: None, kept_ms=no_topic)
        other.append(erase(place.settings, stores, ["other"], NOW))

    place.conditional = Pausing(meanwhile)
    with pytest.raises(LeaseLostError, match="no longer holds the lease"):
        place.erase("viewer-2")
    assert place.conditional.refused == 1
    assert other[0].files_rewritten > 3
    names = names_in(place)
    assert names["viewer-2"] > 0
    assert not names["other"]
    assert place.erase("viewer-2").files_rewritten > 3
    assert not names_in(place).keys() & {"viewer-2", "other"}
    assert comparable(place.count()) == counted


def test_what_goes_meanwhile_does_not_come_back(tmp_path: Path) -> None:
    place = Place(tmp_path, 19, RULES)
    gone: list[str] = []

    def removed(path: str) -> None:
        gone.append(path)
        Path(path).unlink()

    place.conditional = Pausing(removed)
    report = place.erase("other")
    assert place.conditional.refused == 1
    assert not Path(gone[0]).exists()
    assert report.passes == 2
    assert report.files_rewritten > 3
    assert not names_in(place)["other"]


OWED = Owed(hours=[5])


def published(place: Place) -> str:
    """A history whose manifest is in force, and whose rows are all in the tables."""
    name = manifest_name(1, "a")
    manifest = msgspec.structs.replace(no_history(RULES.shards), owed=OWED)
    HistoryStore(place.store, place.path("history")).put_manifest(name, manifest)
    place.registers = register_of(place.path("history"), name)
    return name


def test_before_it_closes_history_is_published_again_under_its_token(tmp_path: Path) -> None:
    place = Place(tmp_path, 20, RULES)
    before = published(place)
    (viewer,) = place.erase("other").viewers
    # Open, it leaves history as it is.
    assert place.registers.read().manifest == before
    assert viewer.key_until is not None
    (closed,) = place.again(viewer.key_until).viewers
    assert closed.key_until is None
    register = place.registers.read()
    assert (token_of(register.manifest), register.kept, register.holder) == (register.token, (before,), "")
    assert register.applied.manifest == register.manifest
    history = HistoryStore(place.store, place.path("history"))
    old, new = (history.manifest(of, RULES.shards) for of in (before, register.manifest))
    assert (new.token, new.before) == (register.token, before)
    # Nothing follows from it that the tables lack.
    assert new.owed == Owed()
    assert msgspec.structs.replace(new, token=old.token, before=old.before, made_ms=old.made_ms, owed=OWED) == old


def test_what_the_tables_lack_is_lacking_under_the_new_name_too(tmp_path: Path) -> None:
    place = Place(tmp_path, 20, RULES)
    before = published(place)
    place.registers = register_of(place.path("history"), before)
    there = place.registers.read()
    place.registers.swap(there, msgspec.structs.replace(there, applied=nothing_applied()))
    (viewer,) = place.erase("other").viewers
    assert viewer.key_until is not None
    place.again(viewer.key_until)
    register = place.registers.read()
    assert register.manifest != before
    assert register.applied == nothing_applied()
    assert HistoryStore(place.store, place.path("history")).manifest(register.manifest, RULES.shards).owed == OWED


@pytest.mark.parametrize("change", ["publish", "put_manifest"])
def test_an_erasure_that_loses_its_lease_before_publishing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A rollup takes the lease, before the manifest is put or between that and its publishing."""
    place = Place(tmp_path, 21, RULES)
    before = published(place)
    (viewer,) = place.erase("other").viewers
    assert viewer.key_until is not None
    of = HistoryStore if change == "put_manifest" else Lease
    original = getattr(of, change)

    def taken(*arguments: Any) -> Any:
        there = place.registers.read()
        place.registers.swap(there, msgspec.structs.replace(there, token=there.token + 1000, holder="rollup"))
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(of, change, taken)
        with pytest.raises(LeaseLostError, match="rollup does"):
            place.again(viewer.key_until)
    assert place.registers.read().manifest == before
    assert len(ErasureList(place.store, place.path("erasures")).open()) == 1
    free(place)
    (closed,) = place.again(viewer.key_until).viewers
    assert closed.key_until is None


def test_a_pass_during_which_a_rollup_published_is_not_the_last(tmp_path: Path) -> None:
    """Turns end in the middle of a pass too; what a rollup made of files as they were before is found by the next."""
    place = Place(tmp_path, 22, RULES)
    before = published(place)
    place.erase("other")

    class Files(FolderFiles):
        reads = 0

        def read(self, path: str) -> tuple[bytes, str]:
            self.reads += 1
            if self.reads == 3:
                there = place.registers.read()
                assert there.holder
                # The erasure's turn is over, and a rollup has had one.
                place.registers.swap(there, msgspec.structs.replace(there, manifest="manifests/2-b.json"))
            return super().read(path)

    assert before
    place.conditional = Files()
    report = place.erase("other")
    assert (report.passes, report.files_rewritten) == (2, 0)


def test_without_a_register_nothing_is_erased(tmp_path: Path) -> None:
    place = Place(tmp_path, 23, RULES)
    contents = place.contents()
    place.registers = MemoryRegisters()
    with pytest.raises(HistoryError, match="has no register of history"):
        place.erase("other")
    place.registers = None
    with pytest.raises(ErasureError, match="make a dry run"):
        place.erase("other")
    assert place.erase("other", dry_run=True).files_rewritten > 3
    assert place.contents() == contents


def test_the_lease_is_given_up_between_passes_and_when_a_turn_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, 24, RULES)
    place.put_slices(place.count())
    waited: list[float] = []
    token = place.registers.read().token
    tokens = set()

    class Files(FolderFiles):
        def replace(self, path: str, content: bytes, tag: str) -> bool:
            # What is listed is not history's, and needs no lease.
            if "/erasures/" not in path:
                tokens.add(place.registers.read().token)
            return super().replace(path, content, tag)

    place.conditional = Files()
    stores = Stores(place.store, place.conditional, place.registers, sleep=waited.append, kept_ms=no_topic)
    with place.topic.in_place():
        first = erase(place.settings, stores, ["other"], NOW)
    assert (first.passes, len(waited), len(tokens)) == (2, 1, 1)
    # A turn that is over at once: each file is a turn.
    monkeypatch.setattr("tools.erasure.erasing.TURN_S", 0.0)
    tokens.clear()
    with place.topic.in_place():
        second = erase(place.settings, stores, ["viewer-2"], NOW)
    assert len(tokens) == second.files_rewritten + second.slices_rewritten > 3
    assert min(tokens) > token
