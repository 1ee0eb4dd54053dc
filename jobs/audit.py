"""The audit: compares the stream's minutes with what the rollup made of the archive, and repairs them if told to.

Submitted by `flink run -py jobs/audit.py [--repair] [--hours N]`; settings come from VIEW_COUNTS_* in the environment.
Looks at hours viewed that are complete in the archive and closed in the stream, so that neither can be merely behind.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

import msgspec
from cassandra.cluster import Session
from pyflink.common import Row, Types
from pyflink.datastream import StreamExecutionEnvironment

from connectors.cassandra import connect
from connectors.flink_kafka import discard, key_by_first_field
from jobs.submission import batch_environment, execute_until, settings_or_exit
from jobs.uids import BatchUid as Uid
from settings import Settings
from udfs.logic.audit import Verdict
from udfs.logic.history import HistoryError, Manifest, hour_start
from udfs.operators.audit import CompareShard, Question, ReadMinutes, WriteVerdicts
from udfs.sinks.history_register import CassandraRegisters
from udfs.sinks.history_store import HistoryStore
from udfs.sinks.lease import Lease, LeaseHolder, LeaseLostError, checked
from udfs.sinks.rollup_start import settle
from udfs.sources.archive import filesystem
from udfs.sources.minute_rows import token_ranges

JOB_NAME = "audit"
PIPELINE = "view_counts"
RANGES = 32
# Of the 8 days that minutes are kept, those of which none can go meanwhile.
HOURS = 7 * 24


def build(env: StreamExecutionEnvironment, settings: Settings, manifest: Manifest, question: Question) -> None:
    """Add the graph."""
    asked, history = msgspec.json.encode(question), msgspec.json.encode(manifest)
    octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
    element = Types.ROW([Types.INT(), octets])
    tokens = [Row(first, last) for first, last in token_ranges(RANGES)]
    stored = (
        env.from_collection(tokens, type_info=Types.ROW([Types.LONG(), Types.LONG()]))
        .rebalance()
        .flat_map(ReadMinutes(settings.cassandra, manifest.shards, asked), output_type=element)
        .name("read minutes")
    )
    verdicts = (
        key_by_first_field(stored, octets)
        .process(CompareShard(settings.history.path, settings.cassandra, history, asked, RANGES), output_type=element)
        .name("compare shards")
    )
    done = (
        key_by_first_field(verdicts, octets)
        .process(WriteVerdicts(settings.cassandra, asked, manifest.shards), output_type=Types.INT())
        .set_parallelism(1)
        .name("verdicts")
    )
    discard(done, Uid.AUDIT_END)


def closed_hour(rows: Sequence[tuple[int, int, datetime | None]]) -> int | None:
    """The hour before which every shard of the stream has closed all minutes; rows are (shard, shards, closed)."""
    closed = {shard: at for shard, _, at in rows if at is not None}
    if not rows or set(closed) != set(range(rows[0][1])):
        return None
    return int(min(closed.values()).replace(tzinfo=UTC).timestamp()) // 3600


def told(verdicts: Sequence[Verdict]) -> str:
    """The sums in a line, with a line before for each hour that has something wrong or late."""
    lines = [
        f"{hour_start(one.hour):%Y-%m-%dT%H:%MZ}: {one.wrong} wrong (by {one.biggest_difference} at most), "
        f"{one.late} late (+{one.late_added}), {one.repaired} repaired"
        for one in verdicts
        if one.wrong or one.late
    ]
    total = Verdict(0)
    for one in verdicts:
        total = total.plus(one)
    lines.append(
        f"{len(verdicts)} hours, {total.compared:,} cells: {total.equal:,} equal, {total.wrong:,} wrong, "
        f"{total.late:,} late (+{total.late_added:,} views); {total.repaired:,} repaired"
    )
    return "\n".join(lines)


def main() -> None:
    """Run the job to its end, and say what it found; exit code 1 when something is wrong and was not repaired."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repair", action="store_true", help="Write what is right; else only say what is not.")
    parser.add_argument(
        "--hours", type=int, default=HOURS, help="Viewed so long ago at most; minutes of over 8 days have expired."
    )
    arguments = parser.parse_args()
    settings = settings_or_exit()
    session = connect(settings.cassandra)
    try:
        wrong = _audit(settings, session, arguments.hours, repair=arguments.repair)
    except (HistoryError, LeaseLostError) as error:
        sys.exit(f"refused: {error}")
    finally:
        session.cluster.shutdown()
    if wrong:
        sys.exit(1)


def _audit(settings: Settings, session: Session, hours: int, *, repair: bool) -> bool:
    """Whether something is wrong and was not repaired. A repair holds the lease of history."""
    registers, path = CassandraRegisters(session), settings.history.path
    with ExitStack() as stack:
        lease = None
        if repair:
            holder = stack.enter_context(
                LeaseHolder(registers, path, JOB_NAME, deadline_s=settings.history.deadline_s, say=print)
            )
            lease, register = holder.lease, holder.register
        else:
            register = checked(registers.read(), path)
        history = HistoryStore(filesystem(settings.s3), path)
        if lease is not None:
            register = settle(settings, history, register, lease)
        applied = register.applied
        if applied is None:
            raise HistoryError("history was restored, and its rows are not written yet: run the rollup first")
        manifest = history.manifest(applied.manifest, settings.counting.shards)
        question = _question(session, manifest, hours, lease)
        if question is None:
            print("nothing to audit: no hour is complete in the archive and closed in the stream")
            return False
        env = batch_environment()
        build(env, settings, manifest, question)
        deadline_s = time.time() + settings.history.deadline_s
        execute_until(env, JOB_NAME, int(deadline_s * 1000) if lease is None else lease.held.deadline_ms)
        verdicts = _verdicts(session, question)
        print(told(verdicts))
        if lease is not None and any(one.repaired for one in verdicts):
            lease.apply(msgspec.structs.replace(applied, revision=lease.token))
    return any(one.wrong and not one.repaired for one in verdicts)


def _question(session: Session, manifest: Manifest, hours: int, lease: Lease | None) -> Question | None:
    progress = session.execute("SELECT shard, shards, closed_through FROM progress WHERE pipeline = %s", (PIPELINE,))
    closed = closed_hour([tuple(row) for row in progress])
    end = min(manifest.through_hour, closed or 0)
    first = max(min(manifest.files["minutes"], default=end), int(time.time()) // 3600 - hours)
    skipped = [hour for hour in manifest.gap_hours if first <= hour < end]
    if skipped:
        print(f"{len(skipped)} hours are not audited: the archive lacks records of them")
    held = None if lease is None else lease.held
    return Question(first, end, held, datetime.fromtimestamp(int(time.time()), UTC)) if first < end else None


def _verdicts(session: Session, question: Question) -> list[Verdict]:
    """What the audit wrote, hour by hour."""
    verdicts = []
    for day in {hour_start(hour).date() for hour in range(question.first, question.end)}:
        for row in session.execute("SELECT * FROM audit_verdicts WHERE day = %s", (day,)):
            if row.audited_at.replace(tzinfo=UTC) == question.audited_at:
                fields = {name: getattr(row, name) for name in Verdict.__struct_fields__ if name != "hour"}
                hour = int(row.hour.replace(tzinfo=UTC).timestamp()) // 3600
                verdicts.append(Verdict(hour, **fields))
    return sorted(verdicts, key=lambda one: one.hour)


if __name__ == "__main__":
    main()
