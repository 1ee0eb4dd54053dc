"""The audit: holds the counts against the archive, one against the other, and repairs Cassandra's tables if told to.

Submitted by `flink run -py jobs/audit.py [--repair] [--hours N] [--recent]`; settings come from VIEW_COUNTS_* in the
environment. Compared are the stream's minutes with history's, in hours viewed that are complete in the archive and
closed in the stream, so that neither can be merely behind; history with itself, from the slices up to the totals;
hours, days and totals in Cassandra with history; and the ledger with the tallies of the archive's slices.
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
from jobs.submission import batch_environment, execute_until, settings_or_exit, without_credentials
from jobs.uids import BatchUid as Uid
from schemas.jobs import AUDIT
from schemas.progress import PIPELINE, ShardProgress, complete_through
from settings import Settings
from udfs.logic.audit.minutes import Verdict
from udfs.logic.audit.sums import (
    DAYS_PARQUET,
    HOURS_PARQUET,
    LEDGER,
    MINUTES_PARQUET,
    OF_PARQUET,
    TOTALS_PARQUET,
    VIEW_TOTALS,
    VIEWS_BY_DAY,
    VIEWS_BY_HOUR,
    Finding,
    added_up,
)
from udfs.logic.history.manifest import HOURS_PER_DAY, HistoryError, Manifest, day_of, hour_start
from udfs.operators.audit import TABLES, CompareRows, Question, ReadRows, WriteVerdicts
from udfs.sources.minute_rows import token_ranges
from udfs.stages.rollup_start import settle
from udfs.stores.archive import filesystem
from udfs.stores.history_register import CassandraRegisters
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import Lease, LeaseHolder, LeaseLostError, checked

RANGES = 32
LEDGER_HOURS_AT_ONCE = 6
PLACES_SHOWN = 5
_COUNTS = ("compared", "wrong", "repaired")
_NOT_AS = {
    MINUTES_PARQUET: "minutes in Parquet are not what the slices count",
    HOURS_PARQUET: "hours in Parquet are not the sums of their minutes",
    DAYS_PARQUET: "days in Parquet are not the sums of their hours",
    TOTALS_PARQUET: "totals in Parquet are not the sums of all days",
    VIEWS_BY_HOUR: "rows do not say what the Parquet of hours does",
    VIEWS_BY_DAY: "rows do not say what the Parquet of days does",
    VIEW_TOTALS: "rows do not say what the Parquet of totals does",
    LEDGER: "minutes of arrival are not accounted for as the archive's slices have them",
}
# Of the 8 days that minutes are kept, those of which none can go meanwhile.
HOURS = 7 * 24


def build(env: StreamExecutionEnvironment, settings: Settings, manifest: Manifest, question: Question) -> None:
    """Add the graph."""
    settings = without_credentials(settings)
    asked, history = msgspec.json.encode(question), msgspec.json.encode(manifest)
    octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
    element = Types.ROW([Types.INT(), octets])
    ranges = ranges_of(question)
    expected = {table: sum(TABLES[number] == table for number, *_ in ranges) for table in TABLES}
    keys = manifest.shards + settings.kafka.partitions
    stored = (
        env.from_collection(
            [Row(*one) for one in ranges], type_info=Types.ROW([Types.INT(), Types.LONG(), Types.LONG()])
        )
        .rebalance()
        .flat_map(ReadRows(settings, asked), output_type=element)
        .name("read rows")
    )
    told = (
        key_by_first_field(stored, octets)
        .process(CompareRows(settings, history, asked, expected), output_type=element)
        .name("compare rows")
    )
    done = (
        key_by_first_field(told, octets)
        .process(WriteVerdicts(settings, asked, keys), output_type=Types.INT())
        .set_parallelism(1)
        .name("verdicts")
    )
    discard(done, Uid.AUDIT_END)


def ranges_of(question: Question) -> list[tuple[int, int, int]]:
    """What is read, and how: (number in TABLES, first, last), of each table one at least."""
    tokens = [(number, *one) for number, table in enumerate(TABLES) if table != LEDGER for one in token_ranges(RANGES)]
    first, end = question.arrived_first, max(question.arrived_end, question.arrived_first + 1)
    hours = range(first, end, LEDGER_HOURS_AT_ONCE)
    ledger = [(TABLES.index(LEDGER), hour, min(hour + LEDGER_HOURS_AT_ONCE, question.arrived_end)) for hour in hours]
    return [*tokens, *ledger]


def closed_hour(rows: Sequence[tuple[int, int, datetime | None]]) -> int | None:
    """The hour before which every shard of the stream has closed all minutes; rows are (shard, shards, closed)."""
    closed = complete_through([ShardProgress(*row) for row in rows])
    return None if closed is None else int(closed.timestamp()) // 3600


def told(verdicts: Sequence[Verdict], findings: Sequence[Finding] = ()) -> str:
    """The stream's sums in the last line; before it what else was compared, and all that is wrong, thing by thing."""
    lines = [
        f"{hour_start(one.hour):%Y-%m-%dT%H:%MZ}: {one.wrong} wrong (by {one.biggest_difference} at most), "
        f"{one.late} late (+{one.late_added}), {one.repaired} repaired"
        for one in verdicts
        if one.wrong or one.late
    ]
    lines += [wrong_in(one) for one in findings if one.wrong]
    if findings:
        compared, wrong, repaired = (sum(getattr(one, name) for one in findings) for name in _COUNTS)
        parts = ", ".join(f"{one.what} {one.compared:,}" for one in findings)
        lines.append(f"{compared:,} rows beside them: {wrong:,} wrong; {repaired:,} repaired ({parts})")
    total = Verdict(0)
    for one in verdicts:
        total = total.plus(one)
    lines.append(
        f"{len(verdicts)} hours, {total.compared:,} cells: {total.equal:,} equal, {total.wrong:,} wrong, "
        f"{total.late:,} late (+{total.late_added:,} views); {total.repaired:,} repaired"
    )
    return "\n".join(lines)


def wrong_in(finding: Finding) -> str:
    """What is wrong with one thing, where, and what to do."""
    bucket = "partition" if finding.what == LEDGER else "shard"
    places = [f"{_time(finding.what, at_ms)}{bucket} {number}" for at_ms, number in finding.places[:PLACES_SHOWN]]
    more = "" if len(finding.places) <= PLACES_SHOWN else ", ..."
    left = finding.wrong - finding.repaired
    if not left:
        remedy = ""
    elif finding.what in OF_PARQUET:
        remedy = (
            "; an audit does not write Parquet: see whether files are as they were written (python -m tools.ops "
            "history verify; the object store's versions), else count again from the archive (docs/rebuild.md)"
        )
    elif finding.repaired:
        remedy = f"; {left} were not repaired, since the Parquet is wrong there itself"
    else:
        remedy = "; --repair writes what is right"
    return (
        f"{finding.what}: {finding.wrong:,} of {finding.compared:,} rows wrong, {finding.repaired:,} repaired, at "
        f"{', '.join(places)}{more}: {_NOT_AS[finding.what]}{remedy}"
    )


def main() -> None:
    """Run the job to its end, and say what it found; exit code 1 when something is wrong and was not repaired."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repair", action="store_true", help="Write what is right; else only say what is not.")
    parser.add_argument(
        "--hours", type=int, default=HOURS, help="Viewed so long ago at most; minutes of over 8 days have expired."
    )
    parser.add_argument(
        "--recent",
        action="store_true",
        help="Of days only those of these hours, and no totals against their days: for a large history.",
    )
    arguments = parser.parse_args()
    settings = settings_or_exit()
    session = connect(settings.cassandra)
    try:
        wrong = _audit(settings, session, arguments.hours, repair=arguments.repair, is_recent=arguments.recent)
    except (HistoryError, LeaseLostError) as error:
        sys.exit(f"refused: {error}")
    finally:
        session.cluster.shutdown()
    if wrong:
        sys.exit(1)


def _audit(settings: Settings, session: Session, hours: int, *, repair: bool, is_recent: bool) -> bool:
    """Whether something is wrong and was not repaired. A repair holds the lease of history."""
    registers, path = CassandraRegisters(session), settings.history.path
    with ExitStack() as stack:
        lease = None
        if repair:
            holder = stack.enter_context(
                LeaseHolder(registers, path, AUDIT.name, deadline_s=settings.history.deadline_s, say=print)
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
        missing = history.missing_files(manifest)
        if missing:
            raise HistoryError(
                f"{len(missing)} files of {applied.manifest} are not there, the first is {missing[0]}: type "
                "`python -m tools.ops history verify`, and put them back from the object store's versions or a copy"
            )
        question = _question(settings, session, manifest, hours, lease, is_recent=is_recent)
        if question is None:
            print("nothing to audit: no hour is complete in the archive")
            return False
        env = batch_environment()
        build(env, settings, manifest, question)
        deadline_s = time.time() + settings.history.deadline_s
        execute_until(env, AUDIT.name, int(deadline_s * 1000) if lease is None else lease.held.deadline_ms)
        verdicts, findings = _verdicts(session, question), _findings(session, question)
        print(told(verdicts, findings))
        if lease is not None and (any(one.repaired for one in verdicts) or any(one.repaired for one in findings)):
            lease.apply(msgspec.structs.replace(applied, revision=lease.token))
    return any(one.wrong and not one.repaired for one in verdicts) or any(one.wrong > one.repaired for one in findings)


def _question(
    settings: Settings, session: Session, manifest: Manifest, hours: int, lease: Lease | None, *, is_recent: bool
) -> Question | None:
    progress = session.execute("SELECT shard, shards, closed_through FROM progress WHERE pipeline = %s", (PIPELINE,))
    closed = closed_hour([tuple(row) for row in progress]) or 0
    end = min(manifest.through_hour, closed)
    since = int(time.time()) // 3600 - hours
    first = max(min(manifest.files["minutes"], default=manifest.through_hour), since)
    skipped = [hour for hour in manifest.gap_hours if first <= hour < end]
    if skipped:
        print(f"{len(skipped)} hours are not audited: the archive lacks records of them")
    arrived = [name.hour for name in manifest.all_slices]
    arrived_first = max(min(arrived, default=0), since)
    # As a rollup, which writes no rows of hours that the table would let go before long.
    kept = (settings.query.hours_kept_days - 1) * HOURS_PER_DAY
    if not manifest.files["days"]:
        return None
    return Question(
        first=first,
        end=max(first, end),
        lease=None if lease is None else lease.held,
        audited_at=datetime.fromtimestamp(int(time.time()), UTC),
        arrived_first=arrived_first,
        arrived_end=max(arrived_first, min(closed, max(arrived, default=0) + 1)),
        first_day=day_of(first) if is_recent else 0,
        table_hours_from=max(first, manifest.through_hour - kept),
    )


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


def _findings(session: Session, question: Question) -> list[Finding]:
    """What the audit wrote, thing by thing."""
    asked = "SELECT what, compared, wrong, repaired, places FROM audit_findings WHERE day = %s AND audited_at = %s"
    rows = session.execute(asked, (question.audited_at.date(), question.audited_at))
    found = []
    for what, compared, wrong, repaired, places in rows:
        where = [(round(at.replace(tzinfo=UTC).timestamp() * 1000), number) for at, number in places or ()]
        found.append(Finding(what, compared, wrong, repaired, where))
    return added_up(found)


def _time(what: str, at_ms: int) -> str:
    """When a wrong row is of, and nothing of all time."""
    if what in (TOTALS_PARQUET, VIEW_TOTALS):
        return ""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at:%Y-%m-%d} " if what in (DAYS_PARQUET, VIEWS_BY_DAY) else f"{at:%Y-%m-%dT%H:%MZ} "


if __name__ == "__main__":
    main()
