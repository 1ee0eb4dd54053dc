"""One run in a stack of its own: both counts while TaskManagers are killed, planted errors, audits, comparisons."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.fs

from connectors.cassandra import connect
from schemas.jobs import ARCHIVE, COUNT, ROLLUP
from settings import CassandraSettings, Settings
from settings.durations import MINUTES_PER_HOUR
from tools.audit_demo.audits import Audit, audit, differences_of, expected_audit
from tools.audit_demo.errors import PlantedError, chosen, plant, with_errors
from tools.audit_demo.parquet import Comparison, compare, read
from tools.audit_demo.rows import (
    LEDGER,
    PlantedRow,
    Rows,
    chosen_rows,
    differing_rows,
    not_the_truth,
    plant_rows,
    read_rows,
    with_row_errors,
    with_rows_repaired,
)
from tools.audit_demo.truth import Truth, truth_of
from tools.exact.harm import Harm, Kill
from tools.exact.loads import createtime_load
from tools.exact.scenario import load_and_harm, trust_timestamps
from tools.exact.turns import Turns
from tools.load import KafkaSender
from tools.load.prediction import Cells
from tools.load.traffic import HOUR_MS
from tools.recount import Finding, Store, compare_cells, end_offsets
from tools.stack import Stack, StackOptions
from tools.stack.machine.ports import HOST
from tools.stack.object_store import s3_settings
from udfs.stores.archive import Archive, ArchiveFile, filesystem

PARTS = ("zookeeper", "kafka", "cassandra", "seaweedfs", "jobmanager", "taskmanager")
TASKMANAGER = "taskmanager"
# Two slots for the count job, one for the archive job, and two for a batch job.
SLOTS = 5
ROLL_MS = 10_000
FIRST_RECORDS_S = 300.0
CATCH_UP_S = 900.0
ROLLUP_TIMEOUT_S = 3600.0
POLL_S = 0.5


class NotDoneError(RuntimeError):
    """Something did not happen in time. The text says what."""


@dataclass(frozen=True)
class Scenario:
    """What to run: how many events over how many hours, how many kills in the load, how many errors of each kind."""

    home: Path
    events: int = 2_000_000
    events_per_second: float = 20_000.0
    videos: int = 4000
    hours: int = 5
    kills: int = 2
    errors_of_each: int = 10
    seed: int = 1


@dataclass
class Result:
    """The comparisons with the sender's record, the planted errors, the kills, and each audit by its purpose.

    `seconds` has the time since the start at which each step was done.
    """

    comparisons: list[Comparison] = field(default_factory=list)
    audits: dict[str, Audit] = field(default_factory=dict)
    planted: list[PlantedError] = field(default_factory=list)
    planted_rows: list[PlantedRow] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def findings(self) -> list[Finding]:
        """Everything that differs from the sender's record."""
        return [finding for comparison in self.comparisons for finding in comparison.findings]


def run(scenario: Scenario, say: Callable[[str], None] = lambda _line: None) -> Result:
    """Run a scenario in `scenario.home`. Its files stay, and all processes end. Raises if a part does not come back."""
    result = Result()
    started_at = time.monotonic()

    def stamp(what: str) -> None:
        result.seconds[what] = round(time.monotonic() - started_at, 1)
        say(f"{what} after {result.seconds[what]:.0f} s")

    options = StackOptions(
        home=scenario.home,
        ports="free",
        parts=PARTS,
        taskmanager_slots=SLOTS,
        environment={"VIEW_COUNTS_ARCHIVE_ROLL_MS": str(ROLL_MS)},
        graceful_stop=False,
    )
    with Stack(options) as stack:
        stamp("stack is up")
        settings, kafka = Settings(), stack.endpoints["kafka"]
        topic = settings.kafka.events_topic
        trust_timestamps(kafka, settings)
        sender = KafkaSender(kafka, topic, partitions=settings.kafka.partitions, salts=settings.counting.salts)
        load = createtime_load(
            sender,
            settings.counting,
            events=scenario.events,
            events_per_second=scenario.events_per_second,
            videos=scenario.videos,
            span_ms=scenario.hours * HOUR_MS,
            seed=scenario.seed,
        )
        counting = stack.flink_run(["-p", "2", "-py", COUNT.file])
        stack.flink_run(["-p", "1", "-py", ARCHIVE.file])
        with Store(HOST, stack.ports["cassandra"]) as store, _session(stack) as session:
            harm = Harm(stack, store, counting, topic)
            harm.wait_counted("submission", FIRST_RECORDS_S)
            stamp("both jobs run")
            kills = (TASKMANAGER,) * scenario.kills
            result.kills = load_and_harm(load, harm, kills, Turns(scenario.events, len(kills)), say)
            stamp("load is sent")
            truth = truth_of(load.source.events, load.prediction.fates, load.source.videos)
            # This is more than an hour after the last event, so that the last hours of arrival have ended.
            closing_ms = load.prediction.closed_through_ms + settings.counting.lateness_ms + HOUR_MS
            sender.heartbeats(closing_ms)
            sender.flush()
            store_of_files = filesystem(s3_settings(stack))
            archive = Archive(store_of_files, settings.archive.path)
            _until("everything is archived", lambda: _archived(archive) == end_offsets(kafka, topic))
            stamp("everything is archived")
            root = settings.history.path.removeprefix("s3://")
            _roll_up(stack, store_of_files, root, say)
            stamp("rollup is done")
            history = read(store_of_files, root)
            result.comparisons += compare(truth, history)
            stamp("Parquet is compared")

            def is_closed() -> bool:
                # Ingest sends heartbeats all the time. They wake a job whose timers were not in its checkpoint.
                sender.heartbeats(closing_ms)
                sender.flush()
                closed = store.closed_through_ms()
                return len(closed) == settings.counting.shards and (
                    min(closed.values()) >= history.through_hour * HOUR_MS
                )

            _until("the stream has closed what history has", is_closed)
            _audit_all(scenario, stack, store, session, truth.before(history.through_hour), result, say)
        stamp("everything is compared")
    return result


def _archived(archive: Archive) -> dict[int, int]:
    """The next offset after the last archived one, by partition. The last one is in the newest hour."""
    newest: dict[int, list[ArchiveFile]] = {}
    for file in archive.files():
        of_partition = newest.setdefault(file.partition, [])
        if of_partition and of_partition[-1].hour < file.hour:
            of_partition.clear()
        of_partition.append(file)
    return {
        partition: max((record.offset for record in archive.read_partition(files)), default=-1) + 1
        for partition, files in newest.items()
    }


def _roll_up(stack: Stack, files: pyarrow.fs.FileSystem, root: str, say: Callable[[str], None]) -> None:
    """Run the rollup, and kill the TaskManager once the first slice is written."""
    selector = pyarrow.fs.FileSelector(f"{root}/slices", recursive=True, allow_not_found=True)
    killed: list[int] = []

    def kill() -> None:
        _until("a slice is written", lambda: any(f.base_name == "slice.json" for f in files.get_file_info(selector)))
        if ROLLUP.name in stack.unfinished_jobs().values():
            killed.append(stack.kill(TASKMANAGER))
            say(f"kill -9 {killed[0]} ({TASKMANAGER}) in the middle of the rollup")

    killer = threading.Thread(target=kill, name="kill", daemon=True)
    killer.start()
    printed = stack.flink("run", "-p", "2", "-py", ROLLUP.file, timeout_s=ROLLUP_TIMEOUT_S)
    killer.join()
    if not killed:
        raise NotDoneError("the rollup ended before the TaskManager was killed: send more events")
    say(printed.strip().splitlines()[-1])


def _audit_all(
    scenario: Scenario,
    stack: Stack,
    store: Store,
    session: Any,
    truth: Truth,
    result: Result,
    say: Callable[[str], None],
) -> None:
    """Audit the right counts, then planted errors without and with repair, and compare the tables after each."""
    views = truth.views()
    end = max(minute for _, _, minute in views) // MINUTES_PER_HOUR * MINUTES_PER_HOUR + MINUTES_PER_HOUR
    errors = chosen(truth, scenario.errors_of_each, scenario.seed)
    with_planted = with_errors(truth.counted, errors)
    # A repair cannot delete the additional rows, so they stay with the number 0.
    repaired = views | {error.cell: 0 for error in errors if not error.right}
    rows = read_rows(session)
    result.comparisons.append(
        Comparison("hours, days and totals in Cassandra", sum(map(len, rows.values())), not_the_truth(truth, rows))
    )
    row_errors = chosen_rows(rows, end, scenario.errors_of_each, scenario.seed)

    def look(name: str, expected: Cells) -> None:
        # Hours that are not complete are not compared.
        found = {cell: n for cell, n in store.cells().items() if cell[2] < end}
        differences = compare_cells(expected, found)
        if len(found) != len(expected):
            differences.append(Finding("minutes", name, f"{len(expected)} rows", len(found)))
        result.comparisons.append(Comparison(f"minutes of the stream {name}", len(expected), differences))

    def look_at_rows(name: str, expected: Rows) -> None:
        found = read_rows(session)
        # The ledger may get further rows, because the stream still counts heartbeats.
        expected = {**expected, LEDGER: {**found[LEDGER], **expected[LEDGER]}}
        differences = differing_rows(expected, found)
        number = sum(map(len, expected.values()))
        result.comparisons.append(Comparison(f"rows of other tables {name}", number, differences))

    def audit_one(name: str, stored: Cells, *, repair: bool = False, others: Sequence[PlantedRow] = ()) -> None:
        found = result.audits[name] = audit(stack, session, repair=repair)
        wanted = expected_audit(truth, stored, repair=repair, rows=others)
        say(f"audit {name}: {found.sums}, beside them {sum(found.wrong.values())} wrong")
        differences = differences_of(name, wanted, found)
        result.comparisons.append(Comparison(f"cells of the audit {name}", wanted.sums["compared"], differences))

    look("as counted", truth.counted)
    audit_one("of what was counted", truth.counted)
    plant(session, errors)
    plant_rows(session, row_errors)
    result.planted, result.planted_rows = errors, row_errors
    audit_one("of planted errors", with_planted, others=row_errors)
    look("after an audit that only looks", with_planted)
    look_at_rows("after an audit that only looks", with_row_errors(rows, row_errors))
    audit_one("that repairs", with_planted, repair=True, others=row_errors)
    look("after the repair", repaired)
    look_at_rows("after the repair", with_rows_repaired(rows, row_errors))
    audit_one("after the repair", repaired)


def _until(what: str, is_so: Callable[[], bool], timeout_s: float = CATCH_UP_S) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline_s:
            raise NotDoneError(f"after {timeout_s:.0f} s this is still not true: {what}")
        time.sleep(POLL_S)


@contextmanager
def _session(stack: Stack) -> Iterator[Any]:
    session = connect(CassandraSettings(hosts=HOST, port=stack.ports["cassandra"]))
    try:
        yield session
    finally:
        session.cluster.shutdown()
