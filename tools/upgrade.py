"""Upgrades the count job: stops it with a savepoint, starts this code from the savepoint, and checks the ledger.

As much as possible is checked before anything is stopped: the job itself checks its code and settings, and Flink says
whether there are enough slots. If the new job does not run nevertheless, the old job is started again from the
savepoint.

The ledger shows a loss or a repetition, because its values are absolute: no row may shrink, every row must balance, and
the number of records in it must become that of the topic and no more. Knows Flink's command line and the tables, and
not the job.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from schemas.ledger import FATES
from tools.stack import FlinkCommandError

# How long a new job may take until all its tasks run. After that the old job is started again. A job that loads its
# state gets more time.
RUNS_S = 60.0
LOADS_S = 600.0
CAUGHT_UP_S = 600.0
POLL_S = 0.5
# A job that fails and restarts this often is given up.
FAILURES_MAX = 3
REASON_LINES = 4
REASON_CHARACTERS = 300
CHECKED = re.compile(r"^checked: the job needs (\d+) slots$", re.MULTILINE)
# The same type as in tools.recount. It is not imported, because that would load clients of Kafka and Cassandra.
Ledger = Mapping[tuple[int, int], Counter[str]]
State = Literal["runs", "loads", "waits for slots", "starts", "failed"]


class Cluster(Protocol):
    """The part of a stack that an upgrade uses; see tools.stack.Stack."""

    def flink(self, *arguments: str) -> str:
        """Run a `flink` command and return what it printed. Raises FlinkCommandError."""
        ...

    def flink_stop(self, job_id: str, /) -> str:
        """Stop a job with a savepoint, and return the path of the savepoint. Raises FlinkCommandError."""
        ...

    def flink_rest(self, path: str) -> Any:
        """The answer of Flink's REST interface, or None if there is none."""
        ...

    def unfinished_jobs(self) -> Mapping[str, str]:
        """The names of the jobs that have not ended, by id."""
        ...


class UpgradeError(RuntimeError):
    """The new job was not started, or the ledger is wrong after the upgrade. The message says what to do."""


@dataclass(frozen=True)
class Upgrade:
    """The result: the savepoint, the new job, for how long no job ran, and the records in the ledger."""

    savepoint: str
    job: str
    stopped_for_s: float
    records: int


@dataclass(frozen=True)
class Plan:
    """How the new job is checked and started, and how the old job is started again."""

    # The arguments of `flink run` with which the new job checks itself.
    check: Sequence[str]
    # These start the new or the old job from a savepoint, and return its id. They raise FlinkCommandError.
    start: Callable[[str], str]
    go_back: Callable[[str], str]
    # The command that an operator types to go back to a savepoint.
    by_hand: Callable[[str], str]
    # Keeps the whole output of Flink, since messages have only the reason. Returns a text that says where.
    keep_output: Callable[[str], str] = field(default=lambda _printed: "")


def findings(before: Ledger, after: Ledger, records_written: int) -> list[str]:
    """What is wrong with the ledger after an upgrade, in lines.

    `records_written` is the number of records in the topic, which must be read after the ledger.
    """
    found = []
    for place, tally in before.items():
        now = after.get(place, Counter())
        found += [
            f"minute {place[0]} salt {place[1]}: {name} went from {value} to {now[name]}"
            for name, value in tally.items()
            if now[name] < value
        ]
    for (minute, salt), tally in after.items():
        explained = sum(tally[fate] for fate in FATES)
        if tally["received"] != explained:
            found.append(f"minute {minute} salt {salt}: received {tally['received']}, the sum of fates is {explained}")
    records = records_of(after)
    if records > records_written:
        found.append(f"the ledger holds {records} records, the topic {records_written}: some were read twice")
    return found


def records_of(ledger: Ledger) -> int:
    """The number of Kafka records in the ledger."""
    return sum(tally["records"] for tally in ledger.values())


# --- reading Flink's answers


def reason(printed: str) -> str:
    """Why a `flink` command failed, in a few short lines: the job's own refusals, or the causes that Java names."""
    lines = [line.strip() for line in printed.splitlines()]
    refused = [line for line in lines if line.startswith(("refused: ", "usage: ")) or ": error: " in line]
    causes = [line for line in lines if line.startswith("Caused by: ")]
    python = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    told = refused or causes[-2:] or python[-2:] or [line for line in lines if line][-2:]
    return "\n".join(line[:REASON_CHARACTERS] for line in dict.fromkeys(told[:REASON_LINES]))


def slots_in_use(job: Any) -> int:
    """The slots that a job uses, as /jobs/<id> describes it. Tasks share slots, so its widest operator counts."""
    waiting = ("CREATED", "SCHEDULED")
    return max(
        (sum(n for state, n in vertex["tasks"].items() if state not in waiting) for vertex in job["vertices"]),
        default=0,
    )


def refused_slots(needed: int, free: int, own: int) -> str | None:
    """A sentence if there are too few slots for the new job, otherwise None. `own` are those of the running job."""
    if needed <= free + own:
        return None
    fewer = f"give --parallelism {free + own} or less, " if free + own else "check that a TaskManager runs, "
    return (
        f"the new job needs {needed} slots, and there are {free + own}: {free} free and {own} of the job that runs; "
        f"{fewer}wait for a rollup to end, or give the TaskManagers more slots (taskmanager.numberOfTaskSlots)"
    )


def state_of(job: Any) -> State:
    """The state of a job that was just submitted, as /jobs/<id> describes it."""
    if job["state"] in {"FAILED", "FAILING", "CANCELED", "CANCELLING"}:
        return "failed"
    tasks = Counter[str]()
    for vertex in job["vertices"]:
        tasks.update({state: n for state, n in vertex["tasks"].items() if n})
    if tasks and set(tasks) == {"RUNNING"}:
        return "runs"
    if tasks and set(tasks) <= {"RUNNING", "INITIALIZING", "DEPLOYING"}:
        return "loads"
    # A task that is scheduled and not deployed has no slot.
    if tasks["SCHEDULED"]:
        return "waits for slots"
    return "starts"


# --- doing it


def upgrade(
    cluster: Cluster,
    job: str,
    plan: Plan,
    *,
    read_ledger: Callable[[], Ledger],
    count_written: Callable[[], int],
    say: Callable[[str], None] = lambda _line: None,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Upgrade:
    """Upgrade a running job.

    Returns when the new job has read everything that was written while no job ran. If it raises UpgradeError, either
    nothing was stopped, or the old job runs again, or the message says that no job runs and what to type.
    """
    needed = _check(cluster, job, plan)
    say(f"checked: the new job needs {needed} slots")
    began_at_s = now_s()
    try:
        savepoint = cluster.flink_stop(job)
    except FlinkCommandError as error:
        raise UpgradeError(
            f"the job could not be stopped with a savepoint; see on Flink's page whether it still runs"
            f"{plan.keep_output(str(error))}:\n{reason(str(error))}"
        ) from error
    say(f"stopped with savepoint {savepoint}")
    before = read_ledger()
    clock = _Clock(now_s, sleep)
    try:
        successor = plan.start(savepoint)
    except FlinkCommandError as error:
        why = f"Flink refused the new job{plan.keep_output(str(error))}:\n{reason(str(error))}"
        raise UpgradeError(_back(cluster, plan, savepoint, None, why, clock)) from error
    trouble = _trouble(cluster, successor, clock)
    if trouble is not None:
        raise UpgradeError(_back(cluster, plan, savepoint, successor, trouble, clock))
    stopped_for_s = now_s() - began_at_s
    say(f"runs as {successor} after {stopped_for_s:.0f} s without a job")
    written = count_written()
    deadline_s = now_s() + CAUGHT_UP_S
    while records_of(after := read_ledger()) < written:
        failures = _failures(cluster, successor)
        if len(failures) >= FAILURES_MAX:
            why = f"it failed {len(failures)} times: {failures[0]}"
            raise UpgradeError(_back(cluster, plan, savepoint, successor, why, clock))
        if now_s() > deadline_s:
            raise UpgradeError(
                f"{CAUGHT_UP_S:.0f} s after its start, job {successor} has judged {records_of(after)} of {written} "
                f"records, and still runs. If it fails, see its exceptions on Flink's page; the savepoint is "
                f"{savepoint}"
            )
        sleep(POLL_S)
    found = findings(before, after, count_written())
    if found:
        raise UpgradeError(
            "the ledger is wrong after the upgrade:\n" + "\n".join(found) + f"\nThe savepoint is {savepoint}"
        )
    return Upgrade(savepoint, successor, stopped_for_s, records_of(after))


@dataclass(frozen=True)
class _Clock:
    now_s: Callable[[], float]
    sleep: Callable[[float], None]


def _check(cluster: Cluster, job: str, plan: Plan) -> int:
    """The slots that the new job needs. Raises UpgradeError if it is refused or if there are too few slots."""
    try:
        printed = cluster.flink("run", *plan.check)
    except FlinkCommandError as error:
        raise UpgradeError(
            f"nothing was stopped, and job {job} still runs. The new code was refused{plan.keep_output(str(error))}:\n"
            f"{reason(str(error))}"
        ) from error
    told = CHECKED.search(printed)
    if told is None:
        raise UpgradeError(
            f"nothing was stopped, and job {job} still runs. The check of the new code printed no result"
        )
    running = cluster.flink_rest(f"/jobs/{job}") or {"vertices": []}
    refused = refused_slots(int(told[1]), _free_slots(cluster), slots_in_use(running))
    if refused is not None:
        raise UpgradeError(f"nothing was stopped, and job {job} still runs: {refused}")
    return int(told[1])


def _free_slots(cluster: Cluster) -> int:
    return int((cluster.flink_rest("/overview") or {}).get("slots-available", 0))


def _failures(cluster: Cluster, job: str) -> list[str]:
    """The reason of each failure of the job, the last failure first."""
    told = (cluster.flink_rest(f"/jobs/{job}/exceptions") or {}).get("exceptionHistory") or {}
    return [reason(entry.get("stacktrace") or entry.get("exceptionName", "")) for entry in told.get("entries", ())]


def _trouble(cluster: Cluster, job: str, clock: _Clock) -> str | None:
    """Wait until all tasks run, and return None; or return why they will not run, in a few words."""
    began_at_s = clock.now_s()
    while True:
        # If there is no answer, the JobManager is away. It will come back with the job.
        told = cluster.flink_rest(f"/jobs/{job}")
        state: State = "starts" if told is None else state_of(told)
        if state == "runs":
            return None
        waited_s = clock.now_s() - began_at_s
        failures = _failures(cluster, job)
        if state == "failed" or len(failures) >= FAILURES_MAX:
            return f"it failed: {failures[0] if failures else 'see its exceptions on the page of Flink'}"
        if waited_s > (LOADS_S if state == "loads" else RUNS_S):
            last = f": {failures[0]}" if failures else ""
            return f"it {state if state == 'waits for slots' else 'does not run'} after {waited_s:.0f} s{last}"
        clock.sleep(POLL_S)


def _back(cluster: Cluster, plan: Plan, savepoint: str, job: str | None, why: str, clock: _Clock) -> str:
    """Start the old job again, and return a message that says why and whether it runs."""
    trouble = None
    try:
        if job is not None and job in cluster.unfinished_jobs():
            cluster.flink("cancel", job)
            began_at_s = clock.now_s()
            while job in cluster.unfinished_jobs() and clock.now_s() - began_at_s < RUNS_S:
                clock.sleep(POLL_S)
        old = plan.go_back(savepoint)
        trouble = _trouble(cluster, old, clock)
    except FlinkCommandError as error:
        trouble = reason(str(error))
    if trouble is None:
        return f"the new job does not run: {why}\nThe old job runs again, as job {old} from savepoint {savepoint}"
    return (
        f"the new job does not run: {why}\n"
        f"The old job does not run either, so no job counts now (no event is lost, they wait in Kafka): {trouble}\n"
        f"Type: {plan.by_hand(savepoint)}"
    )
