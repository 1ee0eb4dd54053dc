"""A rollup in this process: its operators, called one after the other, on a folder in place of the object store.

Archive files are as Flink writes them, and what would go to Cassandra is kept in dictionaries by the tables' own keys.
What is written can be interrupted. Knows no cluster, no Kafka and no Cassandra.
"""

import copy
import io
import re
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from unittest import mock

import msgspec
import pyarrow.fs
from cassandra.concurrent import ExecutionResult

from schemas import registry
from settings import CountingSettings, KafkaSettings, Settings
from tests.support.memory_registers import MemoryRegisters
from tests.unit.test_archive_files import put
from tools.history import make_register
from udfs.logic.history.manifest import Manifest, date_of
from udfs.logic.history.register import Register
from udfs.logic.stream.block_list import read_blocked
from udfs.logic.wire.keyed_records import Keyed, Refusal
from udfs.logic.wire.metadata import read_metadata
from udfs.operators import rollup
from udfs.operators.rollup import CountSlices, MergeShard, PublishManifest, WriteRows
from udfs.sinks import history_rows, optional_rows
from udfs.sinks.packed_batch import PackedBatch
from udfs.stages import rollup_end, stale_rows
from udfs.stages.rollup_end import end_unit
from udfs.stages.rollup_start import Work, begin
from udfs.stores.archive import Record
from udfs.stores.conditional_files import FolderFiles
from udfs.stores.history_register import Registers
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import LeaseHolder

HOUR_MS = 3_600_000
CQL = Path(__file__).parents[2] / "schemas" / "cql"


class Row(dict[str, object]):
    """The values of a row, and beside them when each was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[str, int] = {}


# Tables by name, of these the rows by primary key.
Tables = dict[str, dict[tuple[object, ...], Row]]


class KilledError(Exception):
    """What a kill is here."""


class Steps:
    """Everything that is written or deleted is a step; the one with the number `fatal` is not done, nor any later."""

    def __init__(self, fatal: int | None = None) -> None:
        self.done = 0
        self._fatal = fatal
        # Steps are made side by side.
        self._lock = threading.Lock()

    def step(self, in_part: Callable[[], None] = lambda: None) -> None:
        """Goes on, or raises, once what can be done in part has been."""
        with self._lock:
            if self.done == self._fatal:
                in_part()
                raise KilledError(f"at step {self._fatal}")
            self.done += 1


class Folder(pyarrow.fs.LocalFileSystem):
    """A folder as the object store. An object is there as a whole or not at all."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def open_output_stream(self, path: str, *arguments: Any, **named: Any) -> Any:
        """A step."""
        self._steps.step()
        return super().open_output_stream(path, *arguments, **named)

    def move(self, src: str, dest: str) -> None:
        """A step."""
        self._steps.step()
        super().move(src, dest)

    def delete_file(self, path: str) -> None:
        """A step."""
        self._steps.step()
        super().delete_file(path)

    def delete_dir(self, path: str) -> None:
        """A step for each file, as where there are no folders."""
        for info in self.get_file_info(pyarrow.fs.FileSelector(path, recursive=True)):
            if info.type is pyarrow.fs.FileType.File:
                self.delete_file(info.path)
        super().delete_dir(path)


class Stepping:
    """Registers whose changes are steps."""

    def __init__(self, registers: Registers, steps: Steps) -> None:
        self._registers = registers
        self._steps = steps

    def read(self) -> Register | None:
        return self._registers.read()

    def swap(self, old: Register | None, new: Register) -> bool:
        self._steps.step()
        return self._registers.swap(old, new)

    def renew(self, register: Register) -> bool:
        return self._registers.renew(register)

    def pulse(self) -> object:
        return self._registers.pulse()


class LocalRollup:
    """An archive and a history below `root`. `kept` are compacted topics by name: their keys and rests."""

    def __init__(
        self, root: Path, rules: CountingSettings, kept: Mapping[str, Mapping[str, bytes]], **history: int
    ) -> None:
        self.root = root
        plain = Settings(counting=rules, kafka=KafkaSettings(partitions=2))
        self.settings = plain.model_copy(
            update={
                "archive": plain.archive.model_copy(update={"path": str(root / "archive")}),
                "history": plain.history.model_copy(update={"path": str(root / "history"), **history}),
            }
        )
        self.tables: Tables = {}
        self.registers: MemoryRegisters = MemoryRegisters()
        # Kafka's, of the events topic.
        self.topic_id = ""
        # (partition, offset) of which Kafka says that there never was a record.
        self.empty: set[tuple[int, int]] = set()
        # Whether rollups are given --accept-settings.
        self.accepts = False
        self._rules, self._kept, self._history = rules, kept, history
        self._offsets = dict.fromkeys(range(self.settings.kafka.partitions), 0)

    def copy(self, root: Path) -> Self:
        """Another that is as this one is now."""
        made = type(self)(root, self._rules, self._kept, **self._history)
        register = self.registers.read()
        if register is not None:
            made.registers = MemoryRegisters(msgspec.structs.replace(register, path=made.settings.history.path))
        made.tables = copy.deepcopy(self.tables)
        made._offsets = dict(self._offsets)
        # Its archive is elsewhere.
        made.accepts = True
        shutil.copytree(self.root, root)
        return made

    def archive(self, records: Iterable[tuple[int, int, bytes]]) -> None:
        """(record_ms, salt, value) in the order of their arrival; each call makes files of its own."""
        found: dict[tuple[int, int], list[Record]] = defaultdict(list)
        for record_ms, salt, value in records:
            partition = salt % self.settings.kafka.partitions
            record = Record(self._offsets[partition], record_ms, salt.to_bytes(4, "big"), value)
            found[record_ms // HOUR_MS, partition].append(record)
            self._offsets[partition] += 1
        for (hour, partition), mine in found.items():
            day, of_day = divmod(hour, 24)
            folder = f"arrival_day={date_of(day)}/arrival_hour={of_day:02}/kafka_partition={partition}"
            put(self.root / "archive", folder, f"part-{mine[0].offset}", mine)

    def _without_empty(
        self, _kafka: object, _topic: str, partition: int, gaps: Sequence[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        return [
            (first, last)
            for first, last in gaps
            if any((partition, offset) not in self.empty for offset in range(first, last + 1))
        ]

    @property
    def store(self) -> HistoryStore:
        """What there is of history."""
        return HistoryStore(pyarrow.fs.LocalFileSystem(), self.settings.history.path)

    def manifest(self) -> Manifest:
        """The one in force."""
        register = self.registers.read()
        return self.store.manifest(register.manifest if register else "", self.settings.counting.shards)

    def make_register(self) -> None:
        """What `python -m tools.ops history init` does."""
        make_register(
            self.registers,
            self.store,
            self.settings.history.path,
            now_ms=int(time.time() * 1000),
            has_totals=lambda: bool(self.tables.get("view_totals")),
        )

    def run(self, steps: Steps | None = None) -> Manifest:
        """What jobs/rollup.py does; the history after it. Raises KilledError."""
        if self.registers.read() is None:
            self.make_register()
        steps = steps or Steps()
        store = Folder(steps)
        with self._parts(store, steps):
            counts_on = True
            while counts_on:
                before = self.manifest().run
                work = self._unit(store, steps)
                counts_on = work is not None and not work.is_last and self.manifest().run > before
        return self.manifest()

    def _unit(self, store: Folder, steps: Steps) -> Work | None:
        # A holder that is killed gives nothing up; the next one takes the lease all the same.
        holder = LeaseHolder(
            Stepping(self.registers, steps), self.settings.history.path, "rollup", deadline_s=3600, silent_s=0,
            living_s=0, sleep=lambda _s: None, say=lambda _text: None,
        )  # fmt: skip
        with holder:
            work = begin(
                self.settings,
                store,
                holder.register,
                holder.lease,
                has_totals=lambda: bool(self.tables.get("view_totals")),
                topic_id=self.topic_id,
                accepts=self.accepts,
            )
            if work is not None:
                self._run(work)
                end_unit(self.settings, store, work.unit, holder.lease)
        return work

    def _run(self, work: Work) -> None:
        told: dict[int, list[bytes]] = defaultdict(list)
        # As Flink has them, which are not the shards' numbers.
        keys = [3 + 5 * shard for shard in range(self._rules.shards)]
        unit = msgspec.json.encode(work.unit)
        counting = CountSlices(self.settings, unit, keys)
        counting.open(None)
        for task in work.tasks:
            for key, infos in counting.flat_map(msgspec.json.encode(task).decode()):
                told[key].append(infos)
        merging = MergeShard(self.settings, unit, keys, len(work.tasks))
        publishing = PublishManifest(self.settings, unit, keys)
        writing = WriteRows(self.settings, unit, keys)
        merging.open(None)
        publishing.open(None)
        results = [
            result for key, values in told.items() for value in values
            for _, result in merging.process_element(value, _of_key(key))
        ]  # fmt: skip
        names = [one for result in results for one in publishing.process_element(result, None)]
        writing.open(None)
        for key, value in names:
            list(writing.process_element(value, _of_key(key)))

    @contextmanager
    def _parts(self, store: Folder, steps: Steps) -> Iterator[None]:
        """The operators' clients, with what is here in their place."""
        kept, tables = self._kept, self.tables

        class Topic:
            def __init__(self, _servers: str, topic: str, _read: object) -> None:
                self._topic = topic

            def read_however_long(self, take: Callable[[str, bytes | None], None]) -> None:
                for key, rest in kept.get(self._topic, {}).items():
                    take(key, rest)

            def read_if_there(self, take: Callable[[str, bytes | None], None]) -> bool:
                self.read_however_long(take)
                return True

        def write_all(session: Any, statements: Sequence[tuple[object, object]], _at_once: int, *_: object) -> None:
            # Rows are written side by side: whatever is killed leaves some of them.
            rows = [row for statement in statements for row in _rows(*statement)]
            at = session.timestamp_generator()
            steps.step(lambda: _insert(tables, rows[::2], at))
            _insert(tables, rows, at)

        with (
            mock.patch.object(rollup, "filesystem", return_value=store),
            mock.patch.object(rollup, "CompactedTopic", Topic),
            mock.patch.object(rollup, "without_empty", self._without_empty),
            mock.patch.object(stale_rows, "written_before", side_effect=partial(_written_before, tables)),
            mock.patch.object(rollup_end, "bucket", return_value=(FolderFiles(), list)),
            mock.patch.object(rollup, "registers", return_value=Stepping(self.registers, steps)),
            mock.patch.object(history_rows, "connect_however_long", side_effect=lambda _settings: _session()),
            mock.patch.object(history_rows, "prepare_however_long", lambda _session, text: _Prepared(text)),
            mock.patch.object(history_rows, "write_all", write_all),
            mock.patch.object(optional_rows, "execute_concurrent", executing(write_all)),
        ):
            yield


def metadata_records(channels: Mapping[str, str]) -> dict[str, bytes]:
    """What the metadata topic keeps, of videos whose channels are these."""
    about = {"title": "t", "channel_name": "n", "created_at": 0}
    found = {}
    for video, channel in channels.items():
        value = registry.encode("VideoMetadata", {"video_id": video, "channel_id": channel, **about})
        found[video] = _rest(read_metadata(video.encode(), value))
    return found


def blocked_for_good(viewers: Iterable[str], from_ms: int) -> dict[str, bytes]:
    """What the block list's topic keeps."""
    periods = [{"effective_from": from_ms, "effective_until": None}]
    found = {}
    for viewer in viewers:
        value = registry.encode("BlockedViewer", {"viewer_id": viewer, "periods": periods})
        found[viewer] = _rest(read_blocked(viewer.encode(), value))
    return found


def _rest(found: Keyed | Refusal) -> bytes:
    assert isinstance(found, Keyed), found
    assert found.rest is not None
    return found.rest


def _keys() -> dict[str, tuple[str, ...]]:
    """The primary key of each table."""
    text = "\n".join(path.read_text() for path in sorted(CQL.glob("*.cql")))
    tables = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+) \(([^;]*?)PRIMARY KEY \((.*?)\)\n", text, re.DOTALL)
    return {name: tuple(re.findall(r"\w+", key)) for name, _, key in tables}


KEYS = _keys()


class _Prepared:
    """A statement whose id is its text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.query_id = text.encode()


def _rows(statement: object, values: object) -> Iterator[tuple[str, Sequence[object]]]:
    """(text, values) of a statement with its values, or of each row of a packed batch (native protocol v5, 4.1.7)."""
    if isinstance(statement, _Prepared):
        assert isinstance(values, Sequence)
        yield statement.text, values
        return
    assert isinstance(statement, PackedBatch)
    inserts = statement._statements_and_parameters
    body = io.BytesIO(inserts.body)
    for _ in range(inserts.number):
        assert body.read(1) == b"\1"
        text = body.read(int.from_bytes(body.read(2), "big")).decode()
        number = int.from_bytes(body.read(2), "big")
        yield text, [body.read(int.from_bytes(body.read(4), "big")) for _ in range(number)]
    assert not body.read()


def executing(write_all: Callable[[Any, Sequence[tuple[object, object]], int], None]) -> Callable[..., list[Any]]:
    """What stands for the driver's `execute_concurrent`, of what stands for connectors.acknowledged.write_all."""

    def execute_concurrent(
        session: Any, statements: Sequence[tuple[object, object]], *, concurrency: int, **_: object
    ) -> list[ExecutionResult]:
        write_all(session, statements, concurrency)
        return [ExecutionResult(True, None)] * len(statements)

    return execute_concurrent


def _session() -> SimpleNamespace:
    return SimpleNamespace(cluster=SimpleNamespace(shutdown=lambda: None), prepare=_Prepared)


def _of_key(key: int) -> SimpleNamespace:
    """A context whose current key this is."""
    return SimpleNamespace(get_current_key=lambda: key)


def _insert(tables: Tables, rows: Iterable[tuple[str, Sequence[object]]], at: int) -> None:
    """As Cassandra does: of each value the one with the largest write timestamp stays."""
    for statement, values in rows:
        matched = re.match(r"INSERT INTO (\w+) \((.*?)\) VALUES", statement)
        assert matched is not None, statement
        table, columns = matched[1], dict(zip(matched[2].split(", "), values, strict=True))
        key = tuple(columns[name] for name in KEYS[table])
        row = tables.setdefault(table, {}).setdefault(key, Row())
        for name, value in columns.items():
            if at >= row.written.get(name, 0):
                row[name], row.written[name] = value, at


def _written_before(tables: Tables, _session: object, table: str, token: int) -> Iterator[dict[str, Any]]:
    """As udfs.stages.stale_rows has it."""
    names, value = stale_rows.TABLES[table]
    for row in list(tables.get(table, {}).values()):
        assert isinstance(row, Row)
        said = row[value]
        is_there = int.from_bytes(said, "big") if isinstance(said, bytes) else said
        if is_there and row.written[value] < token:
            yield {name: _decoded(name, row[name]) for name in names}


def _decoded(name: str, value: Any) -> Any:
    """What the driver gives of a value of a packed batch."""
    if not isinstance(value, bytes):
        return value
    if name == "day":
        return date_of(int.from_bytes(value, "big") - (1 << 31))
    return datetime.fromtimestamp(int.from_bytes(value, "big") / 1000, UTC) if name == "hour" else value.decode()
