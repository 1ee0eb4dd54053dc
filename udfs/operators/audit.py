"""Flink operators of the audit, in batch mode: they read tables by ranges, and compare by shard and by partition.

No operator holds a whole table: rows travel in pieces, wait in files, and are compared hour by hour and day by day.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyflink.common import Row
from pyflink.datastream import FlatMapFunction, KeyedProcessFunction, RuntimeContext

from connectors.acknowledged import connect_however_long
from settings import Settings
from settings.durations import DAY_MS, HOUR_MS, MINUTE_MS, MINUTES_PER_HOUR
from udfs.logic.audit.accounts import compare_ledger, partition_of
from udfs.logic.audit.minutes import STORED, Verdict, compare
from udfs.logic.audit.sums import (
    LEDGER,
    OF_TABLES,
    PLACES_MAX,
    STORED_AMOUNTS,
    VIEWS_BY_DAY,
    VIEWS_BY_HOUR,
    Finding,
    added_up,
)
from udfs.logic.history.manifest import Manifest, hour_start
from udfs.logic.history.register import token_of
from udfs.logic.history.tables import MINUTES, of_hour
from udfs.logic.kernels.rows_beside import RowsBeside
from udfs.logic.kernels.shards import shard_of
from udfs.operators.memory import spill_folder
from udfs.sinks.audit_rows import AuditRows
from udfs.sinks.history_rows import HistoryRows
from udfs.sources.ledger_rows import LEDGER_ROWS, LedgerRows, rows_of
from udfs.sources.minute_rows import MinuteRows
from udfs.sources.sum_rows import SumRows
from udfs.stages.audit_history import HistoryRepair, ShardHistory, SliceInfos, audit_history
from udfs.stores.archive import filesystem
from udfs.stores.history_register import CassandraRegisters
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import HeldLease, Lease

MINUTES_TABLE = "views_by_minute"
# The tables that are read. Elements name a table by its number here. The ledger is read by hours of arrival, the others
# by ranges of tokens.
TABLES = (MINUTES_TABLE, *OF_TABLES, LEDGER)
# The rows of each table. The ledger's are compared by partition; keys of partitions come after those of shards.
_SCHEMAS = {MINUTES_TABLE: STORED, **dict.fromkeys(OF_TABLES, STORED_AMOUNTS), LEDGER: LEDGER_ROWS}
# Tables that are compared hour by hour or day by day: the column with the time of a row, and that length in ms.
_COMPARED_BY = {MINUTES_TABLE: ("minute", HOUR_MS), VIEWS_BY_HOUR: ("at", HOUR_MS), VIEWS_BY_DAY: ("at", DAY_MS)}
# The rows of a key are emitted when they have this many bytes.
PIECE_BYTES = 256 << 10


class Question(msgspec.Struct, frozen=True):
    """What to audit. With a lease, what is wrong is repaired.

    The stream's hours viewed are `first` to `end - 1`; history's are those from `first` on that it has. The ledger's
    hours of arrival are `arrived_first` to `arrived_end - 1`. Days are those from `first_day` on. `table_hours_from` is
    the first hour for which views_by_hour must have rows.
    """

    first: int
    end: int
    lease: HeldLease | None
    audited_at: datetime
    arrived_first: int
    arrived_end: int
    first_day: int
    table_hours_from: int


class Result(msgspec.Struct, frozen=True):
    """The result for one shard or partition."""

    verdicts: list[Verdict] = []
    findings: list[Finding] = []


class ReadRows(FlatMapFunction):
    """Takes Row(number in TABLES, first, last), a range of tokens or of hours. Emits Row(key, a piece of its rows).

    A key is a shard, or the number of shards plus a partition. A piece is the number in TABLES, whether it is the last
    piece of this range, and an Arrow stream.
    """

    def __init__(self, settings: Settings, question: bytes) -> None:
        self._settings = settings
        self._question_json = question

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect."""
        session = connect_however_long(self._settings.cassandra)
        self._minutes, self._sums, self._ledger = MinuteRows(session), SumRows(session), LedgerRows(session)
        self._question = msgspec.json.decode(self._question_json, type=Question)

    def flat_map(self, value: Row) -> Iterator[Row]:
        """Read a range. Every shard, or every partition, gets its rows, even if there are none."""
        number, first, last = value
        table = TABLES[number]
        shards, partitions = self._settings.counting.shards, self._settings.kafka.partitions
        keys = range(shards, shards + partitions) if table == LEDGER else range(shards)
        waiting: dict[int, list[pa.Table]] = {key: [_SCHEMAS[table].empty_table()] for key in keys}
        for rows in self._read(table, first, last):
            if table == LEDGER:
                of = pa.array([shards + partition_of(s, partitions) for s in rows["salt"].to_pylist()], pa.int64())
            else:
                videos = rows["video_id"].combine_chunks().dictionary_encode()
                of = pa.array([shard_of(video, shards) for video in videos.dictionary.to_pylist()], pa.int64())
                of = of.take(videos.indices)
            for key in pc.unique(of).to_pylist():
                # A row may be for a partition that does not exist. It is read, but never compared.
                mine = waiting.setdefault(key, [_SCHEMAS[table].empty_table()])
                mine.append(rows.filter(pc.equal(of, key)))
                if sum(one.nbytes for one in mine) >= PIECE_BYTES:
                    yield _piece(key, number, mine, is_last=False)
                    waiting[key] = mine[:1]
        for key in keys:
            yield _piece(key, number, waiting[key], is_last=True)

    def _read(self, table: str, first: int, last: int) -> Iterator[pa.Table]:
        question = self._question
        if table == LEDGER:
            return (self._ledger.read(hour) for hour in range(first, last))
        if table == MINUTES_TABLE:
            return self._minutes.read((first, last), hour_start(question.first), hour_start(question.end))
        return self._sums.read(table, (first, last), question.table_hours_from, question.first_day)


class CompareRows(KeyedProcessFunction):
    """Takes a key's pieces of all ranges of each table. After the last one it emits Row(0, Result in JSON).

    `expected` is the number of ranges of each table.
    """

    def __init__(self, settings: Settings, manifest: bytes, question: bytes, expected: dict[str, int]) -> None:
        self._settings = settings
        self._manifest_json = manifest
        self._question_json = question
        self._expected = expected

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect."""
        settings = self._settings
        self._question = msgspec.json.decode(self._question_json, type=Question)
        self._manifest = msgspec.json.decode(self._manifest_json, type=Manifest)
        self._history = HistoryStore(filesystem(Settings().s3), settings.history.path)
        self._infos = SliceInfos(self._history)
        session = connect_however_long(settings.cassandra)
        self._registers = CassandraRegisters(session)
        held = self._question.lease
        self._lease = None if held is None else Lease(self._registers, held)
        self._rows = AuditRows(session, self._question.audited_at)
        self._folder = spill_folder(settings.job)
        # By key and table: the rows, and how many ranges have been read to their end.
        self._found: dict[int, dict[str, RowsBeside]] = {}
        self._whole: Counter[tuple[int, str]] = Counter()

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Compare when the last rows are there. A batch task that fails begins with its first element again."""
        key = ctx.get_current_key()
        content = bytes(value)
        table, is_last = TABLES[content[0]], content[1]
        found = self._found.setdefault(key, {})
        if table not in found:
            found[table] = RowsBeside(_SCHEMAS[table], self._folder)
        rows = _unpacked(content[2:])
        found[table].put(rows, _numbers(table, rows))
        self._whole[key, table] += is_last
        shards = self._settings.counting.shards
        wanted = [LEDGER] if key >= shards else [table for table in self._expected if table != LEDGER]
        if all(self._whole[key, table] == self._expected[table] for table in wanted):
            tables = self._found.pop(key)
            for table in wanted:
                del self._whole[key, table]
            result = self._shard(key, tables) if key < shards else self._partition(key - shards, tables[LEDGER].take(0))
            yield Row(0, msgspec.json.encode(result))

    def _shard(self, shard: int, tables: dict[str, RowsBeside]) -> Result:
        verdicts = self._minutes(shard, tables[MINUTES_TABLE])
        question, manifest, lease = self._question, self._manifest, self._lease
        of_shard = ShardHistory(
            self._history, self._infos, manifest, shard, first=question.first, first_day=question.first_day
        )
        repair = None
        if lease is not None:
            token = lease.token
            repair = HistoryRepair(
                of_shard, lambda: HistoryRows(self._settings.cassandra, token), manifest, lease.check
            )
        # Without a lease, a rollup may write rows of a newer manifest meanwhile. These are left out.
        register = self._registers.read()
        names = () if register is None else register.all_kept
        newer = {token_of(name) for name in names if token_of(name) > manifest.token}
        findings = audit_history(
            of_shard,
            shard,
            {what: tables[what] for what in OF_TABLES},
            self._rows,
            repair,
            newer=newer,
            table_hours_from=question.table_hours_from,
        )
        if repair is not None:
            repair.close()
        return Result(verdicts, findings)

    def _minutes(self, shard: int, stored: RowsBeside) -> list[Verdict]:
        """Compare hour by hour, store the differences, and with a lease repair them."""
        verdicts = []
        # Where the archive may lack records, nothing can be said about the stream.
        gaps = set(self._manifest.gap_hours)
        for hour in (hour for hour in range(self._question.first, self._question.end) if hour not in gaps):
            truth = self._truth(hour, shard)
            verdict, corrections = compare(hour, truth, stored.take(hour))
            if corrections:
                if self._lease is not None:
                    self._lease.check()
                token = None if self._lease is None else self._lease.token
                self._rows.corrections(hour, corrections, token)
                if token is not None:
                    verdict = msgspec.structs.replace(verdict, repaired=len(corrections))
            verdicts.append(verdict)
        return verdicts

    def _truth(self, hour: int, shard: int) -> pa.Table:
        """Return history's minutes. Their files exist while the manifest is kept, that is, during some more rollups."""
        path = self._manifest.files["minutes"].get(hour, {}).get(shard)
        return MINUTES.empty_table() if path is None else of_hour(self._history.get(path), hour)

    def _partition(self, partition: int, rows: pa.Table) -> Result:
        """Compare the ledger of a partition's salts."""
        names = [name for name in self._manifest.all_slices if name.partition == partition]
        question, lease = self._question, self._lease
        compared, wrong = compare_ledger(
            self._infos.of(names),
            rows_of(rows),
            first_minute=question.arrived_first * MINUTES_PER_HOUR,
            end_minute=question.arrived_end * MINUTES_PER_HOUR,
            gap_hours=self._manifest.gap_hours,
        )
        if wrong and lease is not None:
            lease.check()
        self._rows.accounts(partition, wrong, None if lease is None else lease.token)
        places = sorted({(one.minute * MINUTE_MS, partition) for one in wrong})[:PLACES_MAX]
        repaired = 0 if lease is None else len(wrong)
        return Result(findings=[Finding(LEDGER, compared, len(wrong), repaired, places)])


class WriteVerdicts(KeyedProcessFunction):
    """Takes the Results of all shards and partitions. After the last one it adds them up and writes them.

    It emits the number of the stream's hours that were audited.
    """

    def __init__(self, settings: Settings, question: bytes, keys: int) -> None:
        self._settings = settings
        self._question_json = question
        self._keys = keys

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect."""
        question = msgspec.json.decode(self._question_json, type=Question)
        self._rows = AuditRows(connect_however_long(self._settings.cassandra), question.audited_at)
        self._by_hour: dict[int, Verdict] = {}
        self._findings: Sequence[Finding] = ()
        self._results = 0

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[int]:  # noqa: ARG002
        """Add up. Write with the last one."""
        result = msgspec.json.decode(bytes(value), type=Result)
        for verdict in result.verdicts:
            before = self._by_hour.get(verdict.hour)
            self._by_hour[verdict.hour] = verdict if before is None else before.plus(verdict)
        self._findings = added_up([*self._findings, *result.findings])
        self._results += 1
        if self._results == self._keys:
            self._rows.findings(self._findings)
            self._rows.verdicts(self._by_hour.values())
            yield len(self._by_hour)


def _numbers(table: str, rows: pa.Table) -> npt.NDArray[np.int64]:
    """Return the hour or day since 1970 of each row; 0 where all rows of the table are compared at once."""
    if table not in _COMPARED_BY:
        return np.zeros(rows.num_rows, np.int64)
    column, length_ms = _COMPARED_BY[table]
    at: npt.NDArray[np.int64] = rows[column].cast(pa.int64()).to_numpy()
    return at // length_ms


def _piece(key: int, number: int, rows: Sequence[pa.Table], *, is_last: bool) -> Row:
    table = pa.concat_tables(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Row(key, bytes([number, is_last]) + sink.getvalue().to_pybytes())


def _unpacked(stream: bytes) -> pa.Table:
    return pa.ipc.open_stream(stream).read_all()
