"""The audit: a batch job that compares all counts with each other, and with --repair corrects Cassandra's tables.

Submit it by `flink run -py jobs/audit.py [--repair] [--hours N] [--recent]`; its settings come from VIEW_COUNTS_* in
the environment. The audit makes four comparisons:

- The stream's minutes are compared with those of history. It takes only hours viewed that are complete in history and
  closed in the stream, so that a difference never means that one of the two is behind.
- History is compared with itself, from the slices up to the totals.
- Hours, days and totals in Cassandra are compared with history.
- The ledger is compared with the tallies in the slices of history.
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
    VIEWS_BY_HOUR: "rows differ from the Parquet of hours",
    VIEWS_BY_DAY: "rows differ from the Parquet of days",
    VIEW_TOTALS: "rows differ from the Parquet of totals",
    LEDGER: "minutes of arrival have other numbers than the slices of the archive",
}
# Minutes are kept for 8 days. One day less, so that no minute expires while the audit reads it.
HOURS = 7 * 24


def build(env: StreamExecutionEnvironment, settings: Settings, manifest: Manifest, question: Question) -> None:
    """Add the audit's graph to the environment. `question` says which hours it compares."""
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
    """The ranges to read, at least one of each table, as (index in TABLES, first, last or end).

    Ranges of the ledger are hours of arrival, without the end. Those of all other tables are tokens of Cassandra, with
    the last one.
    """
    tokens = [(number, *one) for number, table in enumerate(TABLES) if table != LEDGER for one in token_ranges(RANGES)]
    first, end = question.arrived_first, max(question.arrived_end, question.arrived_first + 1)
    hours = range(first, end, LEDGER_HOURS_AT_ONCE)
    ledger = [(TABLES.index(LEDGER), hour, min(hour + LEDGER_HOURS_AT_ONCE, question.arrived_end)) for hour in hours]
    return [*tokens, *ledger]


def closed_hour(rows: Sequence[tuple[int, int, datetime | None]]) -> int | None:
    """The hour, as hours since 1970, before which all shards have closed all minutes; None if there is none.

    `rows` are rows of the table progress: (shard, number of shards, closed_through).
    """
    closed = complete_through([ShardProgress(*row) for row in rows])
    return None if closed is None else int(closed.timestamp()) // 3600


def told(verdicts: Sequence[Verdict], findings: Sequence[Finding] = ()) -> str:
    """The report that is printed, in lines.

    It begins with every hour and every comparison in which something is wrong. Then come the sums of the other
    comparisons, and in the last line the sums of the stream's minutes.
    """
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
    """A line about one comparison: how many rows are wrong, where the first of them are, and what to do."""
    bucket = "partition" if finding.what == LEDGER else "shard"
    places = [f"{_time(finding.what, at_ms)}{bucket} {number}" for at_ms, number in finding.places[:PLACES_SHOWN]]
    more = "" if len(finding.places) <= PLACES_SHOWN else ", ..."
    left = finding.wrong - finding.repaired
    if not left:
        remedy = ""
    elif finding.what in OF_PARQUET:
        remedy = (
            "; an audit does not write Parquet: check whether files were changed after they were written "
            "(python -m tools.ops history verify), and put them back from the object store's versions, or count "
            "again from the archive (docs/rebuild.md)"
        )
    elif finding.repaired:
        remedy = f"; {left} were not repaired, because the Parquet itself is wrong there"
    else:
        remedy = "; --repair corrects them"
    return (
        f"{finding.what}: {finding.wrong:,} of {finding.compared:,} rows wrong, {finding.repaired:,} repaired, at "
        f"{', '.join(places)}{more}: {_NOT_AS[finding.what]}{remedy}"
    )


def main() -> None:
    """Run the job to its end and print what it found. The exit code is 1 if something wrong was not repaired."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repair", action="store_true", help="Correct wrong rows in Cassandra. Without this, only report them."
    )
    parser.add_argument(
        "--hours",
        type=int,
        default=HOURS,
        help="Compare minutes viewed at most this many hours ago. Minutes older than 8 days have expired.",
    )
    parser.add_argument(
        "--recent",
        action="store_true",
        help="Compare only the days of these hours, and do not compare totals with days. Use it for a large history.",
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
    """Run the audit, and return whether something wrong was not repaired. A repair holds the lease of history."""
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
            raise HistoryError("history was restored, but its rows are not yet in the tables: run the rollup first")
        manifest = history.manifest(applied.manifest, settings.counting.shards)
        missing = history.missing_files(manifest)
        if missing:
            raise HistoryError(
                f"{len(missing)} files that {applied.manifest} names are missing, the first is {missing[0]}: run "
                "`python -m tools.ops history verify`, and put them back from the object store's versions or a copy"
            )
        question = _question(settings, session, manifest, hours, lease, is_recent=is_recent)
        if question is None:
            print("nothing to audit: no hour is complete in history")
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
        print(f"{len(skipped)} hours are not audited, because the archive lacks records of them")
    arrived = [name.hour for name in manifest.all_slices]
    arrived_first = max(min(arrived, default=0), since)
    # One day less than the time to live, as the rollup does: it writes no rows that would soon expire.
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
    """The rows that this audit wrote to audit_verdicts, in the order of their hours."""
    verdicts = []
    for day in {hour_start(hour).date() for hour in range(question.first, question.end)}:
        for row in session.execute("SELECT * FROM audit_verdicts WHERE day = %s", (day,)):
            if row.audited_at.replace(tzinfo=UTC) == question.audited_at:
                fields = {name: getattr(row, name) for name in Verdict.__struct_fields__ if name != "hour"}
                hour = int(row.hour.replace(tzinfo=UTC).timestamp()) // 3600
                verdicts.append(Verdict(hour, **fields))
    return sorted(verdicts, key=lambda one: one.hour)


def _findings(session: Session, question: Question) -> list[Finding]:
    """The rows that this audit wrote to audit_findings, added up: one finding for each comparison."""
    asked = "SELECT what, compared, wrong, repaired, places FROM audit_findings WHERE day = %s AND audited_at = %s"
    rows = session.execute(asked, (question.audited_at.date(), question.audited_at))
    found = []
    for what, compared, wrong, repaired, places in rows:
        where = [(round(at.replace(tzinfo=UTC).timestamp() * 1000), number) for at, number in places or ()]
        found.append(Finding(what, compared, wrong, repaired, where))
    return added_up(found)


def _time(what: str, at_ms: int) -> str:
    """The day or hour of a wrong row, and a space after it. It is empty for totals, which have no time."""
    if what in (TOTALS_PARQUET, VIEW_TOTALS):
        return ""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at:%Y-%m-%d} " if what in (DAYS_PARQUET, VIEWS_BY_DAY) else f"{at:%Y-%m-%dT%H:%MZ} "


if __name__ == "__main__":
    main()
