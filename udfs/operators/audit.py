"""Flink shells of the audit, in batch mode: minutes are read by ranges of the table, and compared by shard."""

from collections.abc import Iterator
from datetime import datetime

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyflink.common import Row
from pyflink.datastream import FlatMapFunction, KeyedProcessFunction, RuntimeContext

from settings import CassandraSettings, Settings
from settings.durations import HOUR_MS
from udfs.logic.audit import STORED, Verdict, compare
from udfs.logic.history import Manifest, hour_start
from udfs.logic.history_tables import MINUTES, of_hour
from udfs.logic.shards import shard_of
from udfs.sinks.acknowledged import connect_however_long
from udfs.sinks.audit_rows import AuditRows
from udfs.sinks.history_register import CassandraRegisters
from udfs.sinks.history_store import HistoryStore
from udfs.sinks.lease import HeldLease, Lease
from udfs.sources.archive import filesystem
from udfs.sources.minute_rows import MinuteRows


class Question(msgspec.Struct, frozen=True):
    """What is audited: hours viewed from `first` to before `end`; what is found is repaired under a lease, if any."""

    first: int
    end: int
    lease: HeldLease | None
    audited_at: datetime


class ReadMinutes(FlatMapFunction):
    """Row(first token, last token) in; Row(shard, rows of STORED as an Arrow stream) out."""

    def __init__(self, cassandra: CassandraSettings, shards: int, question: bytes) -> None:
        self._cassandra = cassandra
        self._shards = shards
        self._question = question

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect."""
        self._rows = MinuteRows(connect_however_long(self._cassandra))
        question = msgspec.json.decode(self._question, type=Question)
        self._span = hour_start(question.first), hour_start(question.end)

    def flat_map(self, value: Row) -> Iterator[Row]:
        """Read a range; every shard hears of it, also of nothing."""
        found: dict[int, list[pa.Table]] = {shard: [STORED.empty_table()] for shard in range(self._shards)}
        for table in self._rows.read((value[0], value[1]), *self._span):
            videos = table["video_id"].combine_chunks().dictionary_encode()
            shards = pa.array([shard_of(video, self._shards) for video in videos.dictionary.to_pylist()])
            shards = shards.take(videos.indices)
            for shard in pc.unique(shards).to_pylist():
                found[shard].append(table.filter(pc.equal(shards, shard)))
        for shard, tables in found.items():
            yield Row(shard, _packed(pa.concat_tables(tables)))


class CompareShard(KeyedProcessFunction):
    """Of a shard the rows of each of so many ranges in; with the last one Row(0, verdicts by hour in JSON) out."""

    def __init__(self, path: str, cassandra: CassandraSettings, manifest: bytes, question: bytes, ranges: int) -> None:
        self._path = path
        self._ranges = ranges
        self._cassandra = cassandra
        self._manifest_json = manifest
        self._question_json = question

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect."""
        self._question = msgspec.json.decode(self._question_json, type=Question)
        self._manifest = msgspec.json.decode(self._manifest_json, type=Manifest)
        self._history = HistoryStore(filesystem(Settings().s3), self._path)
        session = connect_however_long(self._cassandra)
        held = self._question.lease
        self._lease = None if held is None else Lease(CassandraRegisters(session), held)
        self._rows = AuditRows(session, self._question.audited_at)
        self._stored: dict[int, list[pa.Table]] = {}

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Compare with the last one. In batch mode what fails begins with its first element again."""
        shard = ctx.get_current_key()
        found = self._stored.setdefault(shard, [])
        found.append(_unpacked(bytes(value)))
        if len(found) == self._ranges:
            yield Row(0, msgspec.json.encode(self._compare(shard, pa.concat_tables(self._stored.pop(shard)))))

    def _compare(self, shard: int, stored: pa.Table) -> list[Verdict]:
        """Hour by hour; what differs is kept, and repaired."""
        hours = pc.floor(pc.divide(stored["minute"].cast(pa.int64()), HOUR_MS))
        verdicts = []
        # What the archive lacks says nothing of the stream.
        gaps = set(self._manifest.gap_hours)
        for hour in (hour for hour in range(self._question.first, self._question.end) if hour not in gaps):
            truth = self._truth(hour, shard)
            verdict, corrections = compare(hour, truth, stored.filter(pc.equal(hours, hour)))
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
        """What history has; its files are there while the manifest is kept, which is for some rollups."""
        path = self._manifest.files["minutes"].get(hour, {}).get(shard)
        return MINUTES.empty_table() if path is None else of_hour(self._history.get(path), hour)


class WriteVerdicts(KeyedProcessFunction):
    """The verdicts of so many shards in; with the last one they are added up and written; their number comes out."""

    def __init__(self, cassandra: CassandraSettings, question: bytes, shards: int) -> None:
        self._cassandra = cassandra
        self._question_json = question
        self._shards = shards

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect."""
        question = msgspec.json.decode(self._question_json, type=Question)
        self._rows = AuditRows(connect_however_long(self._cassandra), question.audited_at)
        self._by_hour: dict[int, Verdict] = {}
        self._told = 0

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterator[int]:  # noqa: ARG002
        """Add up, and write at last."""
        for verdict in msgspec.json.decode(bytes(value), type=list[Verdict]):
            before = self._by_hour.get(verdict.hour)
            self._by_hour[verdict.hour] = verdict if before is None else before.plus(verdict)
        self._told += 1
        if self._told == self._shards:
            self._rows.verdicts(self._by_hour.values())
            yield len(self._by_hour)


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _unpacked(stream: bytes) -> pa.Table:
    return pa.ipc.open_stream(stream).read_all()
