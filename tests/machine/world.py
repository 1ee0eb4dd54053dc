"""The world in which jobs run: what happens by itself, and what must hold whatever happens.

A log of two partitions with views, repeats and late ones; an archive that commits files in any order; the stream's
minutes; time, which passes by hours. All that counts is judged by brute force (tests.machine.truth).
"""

import collections
import copy
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, NamedTuple

import fastavro
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.compacted_topic import Written
from schemas import registry
from schemas.kinds import BLOCKED_PREFIX, CANARY_PREFIX
from settings import CountingSettings, KafkaSettings, Settings
from settings.durations import DAY_MS
from tests.machine.jobs import current_job
from tests.machine.register import MemoryRegisters
from tests.machine.store import Store
from tests.machine.tables import Cell, Tables
from tests.machine.truth import (
    GENERATION_MS,
    HOUR_MS,
    LATE_HOURS,
    LATENESS_MS,
    MINUTE_MS,
    Counted,
    LogRecord,
    Sums,
    View,
    judged,
    sums,
)
from tests.support.archived import SCHEMA
from tests.support.records import salt_of
from udfs.logic.history.manifest import (
    HOURLY,
    HOURS_PER_DAY,
    MANIFEST,
    Manifest,
    Owed,
    SliceInfo,
    date_of,
    file_name,
    no_history,
    read_manifest,
    slice_folder,
    token_in,
)
from udfs.logic.history.register import Register
from udfs.logic.history.video_kinds import from_text
from udfs.logic.slices.audience import viewer_hash
from udfs.stores.erasure_list import ErasureList

PARTITIONS = SHARDS = 2
VIDEOS = ("v", "w", "x")
VIEWERS = ("a", "b")
# 22:00, so that a day ends soon.
START_MS = 1_767_225_600_000 + 22 * HOUR_MS
MINUTES_KEPT_DAYS = 2
ARCHIVE_KEPT_DAYS = 1
# Minutes that an audit looks at: of those kept, none that can expire meanwhile.
AUDITED_HOURS = 40
# A file that is archived so long after its hour is still counted.
LATE_FILE_HOURS = 6
# So many hours of arrival are published at once, and a job gives up after so many.
HOURS_AT_ONCE = 5
DEADLINE_HOURS = 20
ARCHIVE, HISTORY, ERASURES = "world/archive", "world/history", "world/erasures"
# None of it may change while a manifest names it, but these by erasure.
REWRITTEN = ("/suspects/", "/viewers.parquet")
# Tables whose rows are history's: what goes back where they are restored from a snapshot.
TABLES = (
    "views_by_hour", "views_by_day", "view_totals", "channel_views_by_hour", "top_videos_by_hour", "top_videos_by_day",
    "day_history", "imported_totals", "imported_days", "video_kinds", "imported_kinds",
)  # fmt: skip


class WrongError(AssertionError):
    """What must hold does not."""


def must(holds: object, text: str) -> None:
    """Raise WrongError unless it holds."""
    if not holds:
        raise WrongError(text)


class Waiting(NamedTuple):
    """A file that the archive has not committed yet: (offset, record) of a partition's hour of arrival."""

    partition: int
    hour: int
    records: list[tuple[int, LogRecord]]


class Known(NamedTuple):
    """Counted are hours viewed from `since` to before `through`; by partition offsets before `ends` but for `lost`."""

    since: int
    through: int
    ends: tuple[int, ...]
    lost: tuple[frozenset[int], ...]


NOTHING_KNOWN = Known(0, 0, (0,) * PARTITIONS, (frozenset(),) * PARTITIONS)


class World:
    """All that there is but the jobs."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.log: list[list[LogRecord]] = [[] for _ in range(PARTITIONS)]
        # Who lists manifests looks at who else writes.
        self.store = Store(self.now_s, self._wrote, lambda path: path == f"{HISTORY}/manifests")
        minutes_ttl_s = MINUTES_KEPT_DAYS * 86_400
        self.tables = Tables(self.now_s, {"views_by_minute": minutes_ttl_s})
        self.registers = MemoryRegisters(self._swapped)
        self.blocked: dict[bytes, bytes | None] = {}
        self.viewer_minute_max = 60
        # Minutes that were falsified, and that no audit has repaired yet.
        self.planted: dict[tuple[object, ...], object] = {}
        # Rows of history that were falsified, by table and key: what they were made to say.
        self._spoiled: dict[tuple[str, tuple[object, ...]], Cell] = {}
        self.erased: set[str] = set()
        # Erased viewers of whom files came since an erasure looked for them last.
        self._came: set[str] = set()
        self._ids = 0
        self._rolled = [0] * PARTITIONS
        self._waiting: list[Waiting] = []
        self._streamed = [0] * PARTITIONS
        # How many imports were begun, each with numbers of its own.
        self.numbers = 0
        # How often a manifest was lost, or the register with rows; and which manifests were.
        self.losses = 0
        self._lost: set[str] = set()
        self._snapshot: dict[str, Any] = {}
        # From when an older manifest is in force until a rollup has caught up.
        self._is_behind = False
        # By file of the archive, the hour in which it was there.
        self._arrived: dict[str, int] = {}
        # By manifest, its content and what it names.
        self._manifests: dict[str, Manifest] = {}
        self._named: dict[str, set[str]] = {}
        # By manifests as text, in the order in which they came to be.
        # An import may come before the first rollup.
        self._known: dict[bytes, Known] = {_name(no_history(SHARDS)): NOTHING_KNOWN}
        self._most = NOTHING_KNOWN
        self._sealed: set[str] = set()
        self._published: tuple[str, ...] = ()
        self._ever_lost: list[set[int]] = [set() for _ in range(PARTITIONS)]
        self.tick(0, 0)

    # --- time and settings

    def now_s(self) -> float:
        """The clock of all."""
        return self.now_ms / 1000

    @property
    def now(self) -> datetime:
        """The same."""
        return datetime.fromtimestamp(self.now_s(), UTC)

    @property
    def settings(self) -> Settings:
        """As they are set now."""
        return _settings(self.viewer_minute_max)

    # --- what happens by itself: operations of a schedule, with two numbers each

    def tick(self, _a: int, _b: int) -> None:
        """An hour begins; every salt has a heartbeat in it, and so the hour before is closed."""
        self.roll(0, 0)
        self.now_ms = (self.now_ms // HOUR_MS + 1) * HOUR_MS + MINUTE_MS
        for log in self.log:
            log.append(LogRecord(self.now_ms, ()))

    def sleep(self, a: int, _b: int) -> None:
        """Nothing happens for hours."""
        self.roll(0, 0)
        self.now_ms += (3, 10, 25, 75)[a % 4] * HOUR_MS
        self.tick(0, 0)

    def view(self, a: int, b: int) -> None:
        """A record: views of now or of before, some of them repeats."""
        self.now_ms += 1000
        mine = self.log[a % PARTITIONS]
        views = [view for record in mine for view in record.views]
        found = []
        for one in range(1 + a // 2 % 3):
            what = b // (7**one)
            if views and what % 4 == 0:
                found.append(views[what // 8 % len(views)])
                continue
            self._ids += 1
            while salt_of(self._ids.to_bytes(16, "big"), PARTITIONS) != a % PARTITIONS:
                self._ids += 1
            behind_ms = (0, 0, 0, 2 * MINUTE_MS, 20 * MINUTE_MS, HOUR_MS, 2 * HOUR_MS, 5 * HOUR_MS)[what // 4 % 8]
            viewer = VIEWERS[what // 32 % 2]
            viewed_ms = self.now_ms - behind_ms
            name = None if viewer in self.erased else viewer
            found.append(View(self._ids.to_bytes(16, "big"), VIDEOS[what // 64 % 3], "view", viewed_ms, name))
        mine.append(LogRecord(self.now_ms, tuple(found)))

    def retold(self, a: int, b: int) -> None:
        """A record: an event of before once more, which says that another video was viewed."""
        self.now_ms += 1000
        mine = self.log[a % PARTITIONS]
        views = [view for record in mine for view in record.views]
        if views:
            old = views[-1 - b % len(views)]
            video = VIDEOS[(VIDEOS.index(old.video) + 1 + a // PARTITIONS % 2) % len(VIDEOS)]
            viewer = None if old.viewer in self.erased else old.viewer
            mine.append(LogRecord(self.now_ms, (old._replace(video=video, viewer=viewer),)))

    def roll(self, _a: int, _b: int) -> None:
        """The archive ends its files; they are not there yet."""
        for partition, log in enumerate(self.log):
            by_hour: dict[int, list[tuple[int, LogRecord]]] = {}
            for offset in range(self._rolled[partition], len(log)):
                by_hour.setdefault(log[offset].record_ms // HOUR_MS, []).append((offset, log[offset]))
            self._waiting += [Waiting(partition, hour, records) for hour, records in by_hour.items()]
            self._rolled[partition] = len(log)

    def hour(self, a: int, b: int) -> None:
        """An hour as most are: views, which the stream counts; it ends, and is archived, but perhaps for a file."""
        self.view(a, b)
        self.view(a + 1, b // 3)
        self.stream(a, b)
        held_back, self._waiting = self._waiting, []
        self.tick(a, b)
        self.roll(a, b)
        if a // 8 % 8 == 0:
            held_back.append(self._waiting.pop(b % len(self._waiting)))
        self.commit_all()
        self._waiting = held_back

    def commit(self, a: int, b: int) -> None:
        """Files of the archive are there, one or more, most often the oldest."""
        for number in range((1, 1, 3, 6)[b % 4]):
            if self._waiting:
                at = 0 if (a >> number) % 8 < 6 else b // 4 % len(self._waiting)
                self._commit(self._waiting.pop(at))

    def _commit(self, one: Waiting) -> None:
        rows = [
            {
                "kafka_offset": offset,
                "record_ms": record.record_ms,
                "record_key": one.partition.to_bytes(4, "big"),
                "record_value": _encoded(one.partition, record),
            }
            for offset, record in one.records
        ]
        file = BytesIO()
        fastavro.writer(file, SCHEMA, rows, codec="null", sync_marker=bytes(16))
        day, of_day = divmod(one.hour, 24)
        folder = f"arrival_day={date_of(day)}/arrival_hour={of_day:02}/kafka_partition={one.partition}"
        path = f"{ARCHIVE}/{folder}/part-{one.records[0][0]}"
        self._arrived[path] = self.now_ms // HOUR_MS
        self._came |= {view.viewer for _, record in one.records for view in record.views if view.viewer is not None}
        self.store.put(path, file.getvalue())

    def commit_all(self) -> None:
        """All files are there."""
        while self._waiting:
            self.commit(0, 0)

    def stream(self, _a: int, _b: int) -> None:
        """The count job writes minutes, up to the log's end."""
        before = self._minutes()
        self._streamed = [len(log) for log in self.log]
        text = (
            "INSERT INTO views_by_minute (video_id, kind, day, minute, views) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
        )
        for (video, kind, minute), (views, _) in self._minutes().items():
            if before.get((video, kind, minute), (0, 0))[0] != views:
                at = datetime.fromtimestamp(minute * 60, UTC)
                self.tables.insert(text, (video, kind, at.date(), at, views, minute * 60_000_000 + views))
        closed = min((log[-1].record_ms - LATENESS_MS) // MINUTE_MS for log in self.log)
        for shard in range(SHARDS):
            self.tables.insert(
                "INSERT INTO progress (pipeline, shard, shards, closed_through) VALUES (?, ?, ?, ?)",
                ("view_counts", shard, SHARDS, datetime.fromtimestamp(closed * 60, UTC)),
            )

    def rules(self, _a: int, _b: int) -> None:
        """By what views are marked is changed, or put back."""
        self.viewer_minute_max = 61 - self.viewer_minute_max

    def plant(self, _a: int, b: int) -> None:
        """A minute of the stream's, which an audit would look at, is falsified."""
        rows = [
            (key, cells)
            for key, cells in sorted(self.tables.rows["views_by_minute"].items(), key=str)
            if self._is_audited(key)
        ]
        if rows:
            key, cells = rows[b % len(rows)]
            value, written_us, expires_s = cells["views"]
            cells["views"] = Cell(int(str(value)) + 7, written_us + 1, expires_s)
            self.planted[key] = cells["views"].value

    def spoil(self, a: int, b: int) -> None:
        """A row of history's, which an audit would look at, is falsified."""
        table = ("view_totals", "views_by_day", "views_by_hour")[a % 3]
        rows = [
            (key, cells)
            for key, cells in sorted(self.tables.rows[table].items(), key=str)
            if self._is_audited_row(table, key) and "views" in cells
        ]
        if rows and self._is_applied():
            key, cells = rows[b % len(rows)]
            value, written_us, expires_s = cells["views"]
            cells["views"] = self._spoiled[table, key] = Cell(int(str(value)) + 7, written_us + 1, expires_s)

    def _is_audited_row(self, table: str, key: tuple[object, ...]) -> bool:
        return table != "views_by_hour" or self._is_audited(key)

    @property
    def is_false(self) -> bool:
        """Whether something was falsified and is not repaired yet."""
        return bool(self.planted or self._still_spoiled())

    def _still_spoiled(self) -> set[tuple[str, tuple[object, ...]]]:
        """The rows of history that say what they were made to say."""
        return {
            (table, key)
            for (table, key), cell in self._spoiled.items()
            if self.tables.rows[table].get(key, {}).get("views") == cell
        }

    def _is_audited(self, key: tuple[object, ...]) -> bool:
        hour, manifest = _number(key[-1]), self.applied()
        is_there = manifest is not None and hour < manifest.through_hour and hour not in manifest.gap_hours
        return is_there and hour > self.now_ms // HOUR_MS - AUDITED_HOURS

    def check_repaired(self) -> None:
        """After an audit: what was falsified is right again, where an audit looks."""
        for key, value in list(self.planted.items()):
            cell = self.tables.rows["views_by_minute"][key]["views"]
            if cell.value != value:
                del self.planted[key]
            must(cell.value != value or not self._is_audited(key), f"an audit has not repaired {key}")
        for table, key in self._still_spoiled():
            must(not self._is_audited_row(table, key), f"an audit has not repaired {key} of {table}")

    def snapshot(self, _a: int, _b: int) -> None:
        """Rows of history are saved."""
        self._snapshot = {name: copy.deepcopy(self.tables.rows[name]) for name in TABLES}

    def lose(self, a: int, _b: int) -> None:
        """The manifest in force is deleted; or the register is, which no backup contains, and rows go back."""
        register = self.registers.row
        if register is None or f"{HISTORY}/{register.manifest}" not in self.store.objects:
            return
        if a % 2:
            self.registers.lose()
            for name in TABLES:
                self.tables.rows[name] = copy.deepcopy(self._snapshot.get(name, {}))
        elif any(f"{HISTORY}/{name}" in self.store.objects for name in register.kept):
            self._lost.add(register.manifest)
            self.store.remove(f"{HISTORY}/{register.manifest}")
        else:
            return
        self.losses += 1

    def lose_file(self, a: int, b: int) -> None:
        """As `lose`; and of the newest manifest that is left, a file that the one before it does not need."""
        register = self.registers.row
        if register is None:
            return
        names = [one for one in register.all_kept if f"{HISTORY}/{one}" in self.store.objects]
        left = names if a % 2 else names[:-1]
        if register.manifest not in names or len(left) < 2:
            return
        paths = sorted((self._files_of(left[-1]) - self._files_of(left[-2])) & self.store.objects.keys())
        if b % 2:
            # One of those of a slice.
            paths = [path for path in paths if "/slices/" in path]
        if not paths or not self._is_whole(left[-2]):
            return
        self.lose(a, 0)
        self._lost.add(paths[b % len(paths)].removeprefix(f"{HISTORY}/"))
        self.store.remove(paths[b % len(paths)])

    def _is_whole(self, name: str) -> bool:
        """Whether a manifest and all of its files are there."""
        return self.store.objects.keys() >= {f"{HISTORY}/{name}", *self._files_of(name)}

    def is_needed(self, path: str) -> bool:
        """Whether a kept manifest names a file; one that the world has lost is missed by everybody."""
        return path in self._sealed and path.removeprefix(f"{HISTORY}/") not in self._lost

    @property
    def is_lost(self) -> bool:
        """Whether somebody has to restore history."""
        row = self.registers.row
        if row is None or not row.manifest:
            return row is None
        owes = row.applied is not None and row.applied.manifest != row.manifest
        needed = {row.manifest, self._of(row.manifest).before if owes else ""} - {""}
        return any(f"{HISTORY}/{name}" not in self.store.objects for name in needed)

    # --- Kafka's compacted topics

    def read_topic(
        self, _servers: str, topic: str, _timeout_s: float
    ) -> Iterator[tuple[bytes, bytes | None, int, int]]:
        """Stands for connectors.compacted_topic.read_to_end."""
        records = self.blocked if topic == self.settings.kafka.blocked_topic else {}
        return iter([(key, value, 0, offset) for offset, (key, value) in enumerate(records.items())])

    def write_topic(self, _servers: str, _topic: str, records: Iterable[tuple[bytes, bytes | None]]) -> Written:
        """Stands for connectors.compacted_topic.write."""
        self.blocked.update(records)
        return Written(1, self.now_ms)

    # --- the history that there is

    def in_force(self) -> Manifest | None:
        """The manifest that the register names; None before the first."""
        row = self.registers.row
        return None if row is None or not row.manifest else self._of(row.manifest)

    def applied(self) -> Manifest | None:
        """The manifest whose rows the tables have, as the register says."""
        row = self.registers.row
        return (
            None if row is None or row.applied is None or not row.applied.manifest else self._of(row.applied.manifest)
        )

    def _of(self, name: str) -> Manifest:
        """A manifest, also one that was lost."""
        if name not in self._manifests:
            self._manifests[name] = _manifest(self.store.objects[f"{HISTORY}/{name}"])
        return self._manifests[name]

    def note_counted(self, before: Manifest, new: Iterable[SliceInfo], after: Manifest) -> None:
        """A rollup has made a manifest of the one before and of these slices, which say what the archive lacked."""
        lost = [set(one) for one in self._known.get(_name(before), NOTHING_KNOWN).lost]
        for info in new:
            # What came late may be counted after all.
            lost[info.partition] -= set(range(info.first_offset, info.next_offset))
            for first, last in info.gaps:
                lost[info.partition].update(range(first, last + 1))
                self._ever_lost[info.partition].update(range(first, last + 1))
        self._known[_name(after)] = Known(
            after.from_hour,
            after.through_hour,
            tuple(after.next_offsets.get(partition, 0) for partition in range(PARTITIONS)),
            tuple(map(frozenset, lost)),
        )

    def known(self) -> Known:
        """What the tables have."""
        manifest = self.applied()
        return NOTHING_KNOWN if manifest is None else self._known_by(manifest)

    def _known_by(self, manifest: Manifest) -> Known:
        must(_name(manifest) in self._known, f"run {manifest.run} is in force, and no rollup has made it")
        return self._known[_name(manifest)]

    def counted(self, known: Known) -> list[Counted]:
        """The views that count for hours that are complete by it."""
        return [
            one
            for log, end, lost in zip(self.log, known.ends, known.lost, strict=True)
            for _, one in judged(log[:end], lost)
            if known.since <= one.hour < known.through
        ]

    # --- what must hold

    def _wrote(self, path: str, before: bytes | None) -> None:
        now = self.store.objects.get(path)
        if path in self._sealed and before is not None and path.removeprefix(f"{HISTORY}/") not in self._lost:
            is_erased = now is not None and any(part in path for part in REWRITTEN)
            must(now == before or is_erased, f"{path} is named by a kept manifest, and {_became(now)}")
        if now is None and before is not None and path.startswith(f"{ARCHIVE}/"):
            self._check_raw(path, before)
        if now is not None and before is not None:
            for viewer in self.erased:
                is_back = _tells_of(path, now, viewer) and not _tells_of(path, before, viewer)
                must(not is_back, f"{path} tells of viewer {viewer} again, who was erased from it")

    def _check_raw(self, path: str, content: bytes) -> None:
        """What leaves the archive is counted by whichever manifest may be restored."""
        row = self.registers.row
        assert row is not None
        offsets = [offset for offset, _ in _records(content)]
        partition = int(path.split("/kafka_partition=")[1].split("/", maxsplit=1)[0])
        for name in row.all_kept:
            end = self._known_by(self._of(name)).ends[partition]
            left = [offset for offset in offsets if offset >= end]
            must(not left, f"{path} leaves the archive, and {name} has not counted {left}")

    # --- what an operator looks at now and then

    def look(self, _a: int, _b: int) -> None:
        """The tables say what is in force, once they are said to; and nobody whose erasure is closed is in history."""
        if self._is_applied() and not self.is_lost:
            self.check_tables()
        for erasure in ErasureList(self.store, ERASURES).all():
            viewer = next(one for one in VIEWERS if viewer_hash(one).hex() == erasure.viewer)
            if not erasure.is_open and viewer not in self._came:
                self._check_named(viewer)

    def _is_applied(self) -> bool:
        row = self.registers.row
        return row is not None and row.applied is not None and row.applied.manifest == row.manifest

    def erasure_begins(self, viewers: Iterable[str]) -> None:
        """Whatever was there before of these is found."""
        self._came -= set(viewers)

    def erasure_ended(self, viewers: Iterable[str], token: int | None) -> None:
        """As it says: unless it was somebody else's turn since, nothing that is in force tells of them."""
        row = self.registers.row
        if row is not None and row.token == token:
            for viewer in viewers:
                self._check_named(viewer)

    def _check_named(self, viewer: str) -> None:
        row = self.registers.row
        for name in () if row is None else row.all_kept:
            for path in self._files_of(name) & self.store.objects.keys():
                is_there = _tells_of(path, self.store.objects[path], viewer)
                must(not is_there, f"viewer {viewer} is erased, and is in {path}, which {name} names")

    @property
    def published(self) -> tuple[str, ...]:
        """The manifests that the register named last, before it was lost."""
        return self._published

    def check_restored(self, names: Iterable[str]) -> None:
        """Of these manifests one is in force by now: none that is whole knows more."""
        manifest = self.in_force()
        assert manifest is not None
        for name in names:
            is_newer = self._of(name).through_hour > manifest.through_hour and self._is_whole(name)
            must(not is_newer, f"run {manifest.run} is restored, and {name} is whole and knows more")

    def _swapped(self, old: Register | None, new: Register) -> None:
        """The register is another."""
        if old is None or (old.manifest, old.kept) != (new.manifest, new.kept):
            self._check_published(new)
        if new.applied is None:
            self._is_behind = True
        elif new.applied.manifest and (old is None or old.applied != new.applied):
            self._check_applied(new)

    def _check_published(self, register: Register) -> None:
        """All kept manifests are whole, and from now on sealed; the numbers of the one in force are right."""
        self._sealed = set()
        self._published = register.all_kept
        for name in register.all_kept:
            whole = f"{HISTORY}/{name}"
            must(whole in self.store.objects or name in self._lost, f"{name} is kept, and is not there")
            self._sealed |= {whole, *self._files_of(name)}
        is_restored = register.applied is None and not register.kept
        for path in self._sealed:
            is_excused = path.removeprefix(f"{HISTORY}/") in self._lost and not is_restored
            must(path in self.store.objects or is_excused, f"{path} is named by a kept manifest, and is not there")
        if register.manifest:
            self._check_history(self._of(register.manifest))
            self._check_imports(register)

    def _check_imports(self, register: Register) -> None:
        """A manifest has the imports of the one before it, but for those that it says have changed."""
        manifest = self._of(register.manifest)
        if register.kept and register.kept[-1] not in self._lost:
            before = self._of(register.kept[-1])
            names = {name for name in {*before.imports, *manifest.imports} if name not in manifest.owed.imports}
            forgotten = sorted(name for name in names if before.imports.get(name) != manifest.imports.get(name))
            must(not forgotten, f"imports {forgotten} of {register.kept[-1]} are others in {register.manifest}")

    def _files_of(self, name: str) -> set[str]:
        """The paths of all files that a manifest names."""
        if name not in self._named:
            manifest = self._of(name)
            found = {f"{HISTORY}/{path}" for path in manifest.all_files}
            folders = {f"{HISTORY}/{slice_folder(one)}" for one in manifest.all_slices}
            there = {path for path in self.store.objects if path.rsplit("/", 1)[0] in folders}
            must(folders == {path.rsplit("/", 1)[0] for path in there}, f"{name} names slices that are not there")
            self._named[name] = found | there
        return self._named[name]

    def _check_history(self, manifest: Manifest) -> None:
        """Totals = days = hours = minutes = what counts by brute force."""
        known = self._known_by(manifest)
        counted = self.counted(known)
        for data_set, size_ms in SPANS.items():
            found, wanted = self.stored(manifest, data_set), sums(counted, size_ms)
            must(found == wanted, f"{data_set} of run {manifest.run}: {_differences(found, wanted)}")
        self._check_viewers(manifest, counted)
        self._check_devices(manifest, counted)
        self._check_complete(manifest, known)

    def _check_complete(self, manifest: Manifest, known: Known) -> None:
        """Hours that are complete lack nothing that arrived in time, but for those that are said to have gaps."""
        for partition, (log, end) in enumerate(zip(self.log, known.ends, strict=True)):
            is_past = end >= len(log) or log[end].record_ms >= known.through * HOUR_MS + LATENESS_MS
            must(is_past, f"hours before {known.through} are complete, and partition {partition} is counted to {end}")
        found, wanted = (
            collections.Counter(
                (one.hour, one.view) for one in self.counted(known._replace(lost=lost)) if not one.is_late
            )
            for lost in (known.lost, NOTHING_KNOWN.lost)
        )
        different = {hour for hour, _ in (found - wanted) + (wanted - found)} - set(manifest.gap_hours)
        must(not different, f"hours {sorted(different)} of run {manifest.run} lack records, and are no gap hours")

    def _check_applied(self, register: Register) -> None:
        """The tables say what is in force, and nothing that they had is forgotten."""
        applied = register.applied
        assert applied is not None
        manifest = self._of(applied.manifest)
        told = applied.through_hour, applied.from_hour
        must(told == (manifest.through_hour, manifest.from_hour), f"the register tells {told} of {applied.manifest}")
        known = self._known_by(manifest)
        text = self._forgotten(known)
        if text is None:
            self._is_behind, self._most = False, known
        must(text is None or self._is_behind, text or "")
        if applied.manifest == register.manifest:
            self.check_tables()

    def _forgotten(self, known: Known) -> str | None:
        """What was counted and is not known."""
        most = self._most
        if known.since > most.since and most.through:
            return f"hours before {known.since} were counted and are forgotten: history began with {most.since}"
        if known.through < most.through:
            return f"hours up to {most.through} were complete and are forgotten: history ends with {known.through}"
        for partition, (end, lost) in enumerate(zip(most.ends, most.lost, strict=True)):
            forgotten = {
                offset
                for offset in range(end)
                if offset not in lost and (offset >= known.ends[partition] or offset in known.lost[partition])
            }
            if forgotten:
                return f"partition {partition}: {sorted(forgotten)} were counted and are forgotten"
        return None

    def check_left_over(self) -> None:
        """After a rollup that nobody disturbed: no file but what kept manifests name, and its own parts.

        What was written to become a copy of the manifest, by who was killed before that, is hidden and stays.
        """
        row = self.registers.row
        assert row is not None
        must(not self._is_behind, f"after a restore: {self._forgotten(self.known())}")
        if self._lost.intersection(row.all_kept):
            return
        named = {f"{HISTORY}/{MANIFEST}"}.union(
            *(self._files_of(name) | {f"{HISTORY}/{name}"} for name in row.all_kept)
        )
        manifest = self.in_force()
        assert manifest is not None
        put_into_days = self._put_into_days(manifest)
        left = [
            path
            for path in self.store.objects
            if path.startswith(f"{HISTORY}/")
            and path not in named
            and not path.startswith(f"{HISTORY}/.{MANIFEST}.")
            and not (
                (path.startswith(f"{HISTORY}/parts/") or self._counts_for_nothing(path) or path in put_into_days)
                and token_in(path) == manifest.token
            )
        ]
        must(not left, f"files are left over: {left[:3]}")

    @staticmethod
    def _put_into_days(manifest: Manifest) -> set[str]:
        """The names that hours may have which this rollup counted and then put into the file of their day.

        The next rollup deletes such files, as it does all below its token.
        """
        return {
            f"{HISTORY}/{file_name(data_set, hour, shard, path.split('run-')[1].removesuffix('.parquet'))}"
            for data_set in HOURLY
            for hour, of_shards in manifest.files[data_set].items()
            for shard, path in of_shards.items()
        }

    def _counts_for_nothing(self, path: str) -> bool:
        """Whether a file is of a slice with events for no hour viewed, such as repeats alone.

        Of these a manifest names those that may be counted again; the next rollup deletes the others.
        """
        folder = path.rsplit("/", 1)[0]
        if "/slices/" not in path or f"{folder}/slice.json" not in self.store.objects:
            return False
        return not msgspec.json.decode(self.store.objects[f"{folder}/slice.json"], type=SliceInfo).hours_viewed

    def _check_viewers(self, manifest: Manifest, counted: list[Counted]) -> None:
        """Viewers, and views beyond the rules, of days to which nothing is added any more."""
        for day in manifest.files["viewers"]:
            if (day + 1) * HOURS_PER_DAY > manifest.forgotten_before:
                continue
            of_day = [one.view for one in counted if one.hour // HOURS_PER_DAY == day and one.view.viewer]
            viewers = collections.Counter(video for video, _ in {(view.video, view.viewer) for view in of_day})
            most = manifest.marked_by[day].minute_max
            by_minute = collections.Counter((view.video, view.viewer, view.viewed_ms // MINUTE_MS) for view in of_day)
            marked: collections.Counter[str] = collections.Counter()
            for (video, _, _), views in by_minute.items():
                marked[video] += max(0, views - most)
            for data_set, column, wanted in (("viewers", "viewers", viewers), ("marks", "marked", +marked)):
                found = {
                    video: number
                    for path in manifest.files[data_set].get(day, {}).values()
                    for video, number in _numbers(self.store.objects[f"{HISTORY}/{path}"], column)
                }
                text = f"{data_set} of {date_of(day)} of run {manifest.run}: {_differences(found, wanted)}"
                must(found == dict(wanted), text)

    def _check_devices(self, manifest: Manifest, counted: list[Counted]) -> None:
        """Views by device are those that count. Of a viewer who was erased some may be by no known device."""
        wanted = collections.Counter(
            (one.view.video, one.hour // HOURS_PER_DAY, _device(one.view.event_id) or "") for one in counted
        )
        found: collections.Counter[tuple[str, int, str]] = collections.Counter()
        for day, of in manifest.files["devices"].items():
            for path in of.values():
                for video, device, views in _devices(self.store.objects[f"{HISTORY}/{path}"]):
                    found[video, day, device] += views
        if self.erased:
            must(not any(device for _, _, device in found - wanted), "views by device are more than there are")
            found, wanted = _by_day(found), _by_day(wanted)
        must(found == wanted, f"devices of run {manifest.run}: {_differences(found, wanted)}")

    def stored(self, manifest: Manifest, data_set: str) -> Sums:
        """What Parquet has: (views, of them late) by video, kind and number of a minute, hour or day, or 0."""
        found: Sums = {}
        for at, of in manifest.files[data_set].items():
            for path in of.values():
                for video, kind, time_ms, views, late in _rows(self.store.objects[f"{HISTORY}/{path}"]):
                    place = at if time_ms is None else time_ms // SPANS[data_set]
                    # A file may have all hours of a day.
                    if views and (data_set not in HOURLY or (time_ms is not None and time_ms // HOUR_MS == at)):
                        found[video, kind, place] = views, late
        return found

    def check_tables(self) -> None:
        """Cassandra's rows say what Parquet says. Holds once it is applied, whoever is writing older rows still.

        While a history that was restored has not caught up, rows of what it does not know yet are there.
        """
        manifest = self.applied()
        if manifest is None:
            return
        for data_set, table, column in (
            ("hours", "views_by_hour", "hour"), ("days", "views_by_day", "day"), ("totals", "view_totals", None),
        ):  # fmt: skip
            wanted = {key: views for key, (views, _) in self.stored(manifest, data_set).items()}
            rows = {
                (row["video_id"], row["kind"], _number(row[column]) if column else 0): row["views"]
                for row in self.tables.alive(table)
                if row.get("views")
            }
            if self._is_behind:
                rows = {key: views for key, views in rows.items() if key in wanted}
            spoiled = {
                (key[0], key[1], _number(key[-1]) if column else 0) for of, key in self._still_spoiled() if of == table
            }
            rows = {key: views for key, views in rows.items() if key not in spoiled}
            wanted = {key: views for key, views in wanted.items() if key not in spoiled}
            must(rows == wanted, f"rows of {table}: {_differences(rows, wanted)}")
        self._check_imported(manifest)
        self._check_kinds("video_kinds", {key[:2] for key in self.stored(manifest, "totals")})

    def _check_kinds(self, table: str, counted: Collection[tuple[str, str]]) -> None:
        """The rows of a table list these kinds of videos, but for reserved ones."""
        wanted: dict[str, list[str]] = {}
        for video, kind in sorted(counted):
            if not kind.startswith((BLOCKED_PREFIX, CANARY_PREFIX)):
                wanted.setdefault(video, []).append(kind)
        rows = {str(row["video_id"]): from_text(str(row["kinds"])) for row in self.tables.alive(table) if row["kinds"]}
        if self._is_behind:
            rows = {video: kinds for video, kinds in rows.items() if video in wanted}
        must(rows == wanted, f"rows of {table}: {rows}, not {wanted}")

    def _check_imported(self, manifest: Manifest) -> None:
        """The sums of all imports, and nothing else."""
        totals: collections.Counter[tuple[str, str, int]] = collections.Counter()
        days: collections.Counter[tuple[str, str, int]] = collections.Counter()
        for one in manifest.imports.values():
            for row in pq.read_table(pa.BufferReader(self.store.objects[f"{HISTORY}/{one.path}"])).to_pylist():
                totals[row["video_id"], row["kind"], 0] += row["views"]
                if row["day"] is not None:
                    days[row["video_id"], row["kind"], _number(row["day"])] += row["views"]
        for table, wanted in (("imported_totals", totals), ("imported_days", days)):
            rows = {
                (row["video_id"], row["kind"], _number(row["day"]) if "day" in row else 0): row["views"]
                for row in self.tables.alive(table)
                if row.get("views")
            }
            if self._is_behind:
                rows = {key: views for key, views in rows.items() if key in wanted}
            must(rows == +wanted, f"rows of {table}: {_differences(rows, wanted)}")
        self._check_kinds("imported_kinds", {(video, kind) for video, kind, _ in +totals})

    def check_all_is_counted(self) -> None:
        """Once all is archived and a rollup has come to its end."""
        known, open_hour = self.known(), min(log[-1].record_ms for log in self.log) // HOUR_MS
        for partition in range(PARTITIONS):
            there = {offset for offset, hour in self._archived(partition) if hour < open_hour}
            left = sorted(offset for offset in there if offset >= known.ends[partition])
            must(not left, f"partition {partition}: {left} are archived, their hour is over, and they are not counted")
            late = sorted(
                offset
                for offset, hour in self._archived(partition)
                if offset in known.lost[partition]
                and self._came_in_time(offset, partition, hour, known.lost[partition])
            )
            must(not late, f"partition {partition}: {late} came late to the archive, and are never counted")

    def _came_in_time(self, offset: int, partition: int, hour: int, lost: frozenset[int]) -> bool:
        """Whether it was there soon enough after the hour of the slice that lacks it.

        That is the hour of the record before: where nothing came for hours, it is older than what is missing.
        """
        before = offset
        while before in lost and before > 0:
            before -= 1
        hour = min(hour, self.log[partition][before].record_ms // HOUR_MS)
        path = next(path for path, of in self._files(partition) if any(one == offset for one, _ in of))
        return self._arrived[path] - hour <= LATE_FILE_HOURS

    def _archived(self, partition: int) -> Iterator[tuple[int, int]]:
        """(offset, hour of arrival) of each record that is archived."""
        for _, of in self._files(partition):
            yield from of

    def _files(self, partition: int) -> Iterator[tuple[str, list[tuple[int, int]]]]:
        for path, content in self.store.objects.items():
            if path.startswith(f"{ARCHIVE}/") and f"/kafka_partition={partition}/" in path:
                yield path, [(offset, record_ms // HOUR_MS) for offset, record_ms in _records(content)]

    def check_erased(self, viewer: str) -> None:
        """Nothing that is stored tells of a viewer whose erasure is closed."""
        for path, content in self.store.objects.items():
            must(not _tells_of(path, content, viewer), f"viewer {viewer} is erased, and is in {path}")

    # --- what answers may say

    def _minutes(self) -> Sums:
        return sums((one for one in self.streamed() if not one.is_late), MINUTE_MS)

    def streamed(self) -> list[Counted]:
        """What the stream has judged so far."""
        return [one for log, end in zip(self.log, self._streamed, strict=True) for _, one in judged(log[:end])]

    def least(self, known: Known, streamed: list[Counted], video: str) -> Mapping[int, int]:
        """By hour viewed the views of a video that are known: by history, and from its end on by the stream."""
        # What a rollup that is not published lacks may be in its rows by now: those records need not count.
        sure = known._replace(lost=tuple(map(frozenset, self._ever_lost)))
        lost_ids = self._lost_ids()
        found = [one for one in self.counted(sure) if one.view.video == video and one.view.event_id not in lost_ids]
        found += [
            one
            for one in streamed
            if one.hour >= known.through
            and not one.is_late
            and one.view.video == video
            and one.view.event_id not in lost_ids
        ]
        return collections.Counter(one.hour for one in found)

    def most(self, video: str) -> Mapping[int, int]:
        """By hour viewed all views of a video that count."""
        found = {one.view for log in self.log for _, one in judged(log) if one.view.video == video}
        # Without what was missing for a while, what repeats it may have counted for another video.
        ids = self._lost_ids()
        found |= {
            view
            for log in self.log
            for record in log
            for view in record.views
            if view.event_id in ids and view.video == video
        }
        return collections.Counter(view.viewed_ms // HOUR_MS for view in found)

    def _lost_ids(self) -> set[bytes]:
        """The events of all records that were missing when they were to be counted."""
        return {
            view.event_id
            for log, lost in zip(self.log, self._ever_lost, strict=True)
            for offset in lost
            for view in log[offset].views
        }


SPANS = {"totals": 1 << 62, "days": DAY_MS, "hours": HOUR_MS, "minutes": MINUTE_MS}


@functools.cache
def _settings(viewer_minute_max: int) -> Settings:
    plain = Settings(
        counting=CountingSettings(
            salts=PARTITIONS,
            shards=SHARDS,
            max_parallelism=2,
            lateness_ms=LATENESS_MS,
            generation_ms=GENERATION_MS,
            future_skew_ms=MINUTE_MS,
        ),
        kafka=KafkaSettings(partitions=PARTITIONS, retention_ms=HOUR_MS),
    )
    history = {
        "path": HISTORY,
        "late_hours": LATE_HOURS,
        "late_file_hours": LATE_FILE_HOURS,
        "hours_at_once": HOURS_AT_ONCE,
        "deadline_s": DEADLINE_HOURS * 3600.0,
        "slice_events_max": 3,
        "viewer_minute_max": viewer_minute_max,
    }
    return plain.model_copy(
        update={
            "archive": plain.archive.model_copy(update={"path": ARCHIVE, "kept_days": ARCHIVE_KEPT_DAYS}),
            "history": plain.history.model_copy(update=history),
            "erasure": plain.erasure.model_copy(update={"path": ERASURES}),
            "query": plain.query.model_copy(update={"minutes_kept_days": MINUTES_KEPT_DAYS}),
        }
    )


def _device(event_id: bytes) -> str | None:
    """Follows from the id."""
    return (None, "tv", "phone")[event_id[-1] % 3]


def _encoded(salt: int, record: LogRecord) -> bytes:
    """As ingest writes it."""
    return registry.encode(
        "ViewBatch",
        {
            "batch_id": bytes(16),
            "producer_id": "machine",
            "salt": salt,
            "salts": PARTITIONS,
            "produced_at": record.record_ms,
            "events": [
                {
                    "event_id": view.event_id,
                    "video_id": view.video,
                    "kind": view.kind,
                    "viewed_at": view.viewed_ms,
                    "viewer_id": view.viewer,
                    "country": None,
                    "device": _device(view.event_id),
                }
                for view in record.views
            ],
        },
    )


def _tells_of(path: str, content: bytes, viewer: str) -> bool:
    """Whether a file of the archive, of viewers or of suspects has a viewer in it."""
    if path.startswith(f"{ARCHIVE}/"):
        values = [row["record_value"] for row in fastavro.reader(BytesIO(content))]  # type: ignore[index,call-overload]
        return any(bytes([2, 2 * len(viewer)]) + viewer.encode() in value for value in values)
    return any(part in path for part in REWRITTEN) and viewer_hash(viewer) in content


def _name(manifest: Manifest) -> bytes:
    """What it says, but for who made it, by which settings and marks, and the rows that it owes."""
    nothing = {
        "marked_by": {},
        "token": 0,
        "before": "",
        "made_ms": 0,
        "topic_id": "",
        "owed": Owed(),
        "settings": {},
        "imports": {},
    }
    return msgspec.json.encode(msgspec.structs.replace(manifest, **nothing))


@functools.lru_cache(256)
def _manifest(content: bytes) -> Manifest:
    return read_manifest(content)


@functools.lru_cache(4096)
def _records(content: bytes) -> list[tuple[int, int]]:
    """(offset, time in ms) of each record of a file of the archive."""
    records: Iterator[Any] = fastavro.reader(BytesIO(content))
    return [(record["kafka_offset"], record["record_ms"]) for record in records]


def _rows(content: bytes) -> list[tuple[str, str, int | None, int, int]]:
    """(video, kind, time in ms if there is one, views, late_added) of a file of a data set."""
    table = pq.read_table(pa.BufferReader(content), use_threads=False)
    time = next((name for name in ("minute", "hour") if name in table.schema.names), None)
    times = [None] * table.num_rows if time is None else table[time].cast(pa.int64()).to_pylist()
    columns = [table[name].to_pylist() for name in ("video_id", "kind", "views", "late_added")]
    return [
        (video, kind, at, views, late)
        for video, kind, at, views, late in zip(*columns[:2], times, *columns[2:], strict=True)
    ]


@functools.lru_cache(1024)
def _numbers(content: bytes, column: str) -> list[tuple[str, int]]:
    """(video, number) of each row of a day's file, but for nothing."""
    table = pq.read_table(pa.BufferReader(content), use_threads=False)
    rows = zip(table["video_id"].to_pylist(), table[column].to_pylist(), strict=True)
    return [(video, number) for video, number in rows if number]


@functools.lru_cache(1024)
def _devices(content: bytes) -> list[tuple[str, str, int]]:
    """(video, device, views) of each row of a day's file."""
    table = pq.read_table(pa.BufferReader(content), use_threads=False)
    columns = (table[name].to_pylist() for name in ("video_id", "device", "views"))
    return list(zip(*columns, strict=True))


def _by_day(views: Mapping[tuple[str, int, str], int]) -> collections.Counter[tuple[str, int, str]]:
    """Of all devices together."""
    found: collections.Counter[tuple[str, int, str]] = collections.Counter()
    for (video, day, _), number in views.items():
        found[video, day, ""] += number
    return found


def _number(at: Any) -> int:
    """Of an hour, or of a day, since 1970."""
    if isinstance(at, datetime):
        return int(at.replace(tzinfo=UTC).timestamp()) // 3600
    return int((at - date_of(0)).days)


def _differences(found: Mapping[Any, object], wanted: Mapping[Any, object]) -> str:
    different = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
    return "; ".join(f"{key} is {found.get(key)}, by brute force {wanted.get(key)}" for key in different[:4])


def _became(content: bytes | None) -> str:
    job = current_job()
    return f"is {'deleted' if content is None else 'another'} by {job.name if job else 'the world'}"
