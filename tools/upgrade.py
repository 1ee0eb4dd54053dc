"""Upgrades the count job: stops it with a savepoint, starts this code from it, and checks the ledger across it.

The ledger is absolute, so that a loss or a repetition shows: no row may shrink, every row must balance, and the records
in it must become those in the topic, not one more. Knows the stack and the tables, not the job.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tools.stack import FlinkCommandError, Stack

CAUGHT_UP_S = 600.0
POLL_S = 0.5
# As tools.recount has them, whose clients of Kafka and Cassandra no other command should have to load.
FATES = ("counted", "duplicate", "late", "invalid", "blocked", "dead_lettered")
Ledger = Mapping[tuple[int, int], Counter[str]]


class UpgradeError(RuntimeError):
    """The new job was not started, or the ledger does not hold across the upgrade; the message says what to do."""


@dataclass(frozen=True)
class Upgrade:
    """How it went: the savepoint, the new job, and for how long none ran."""

    savepoint: str
    job: str
    stopped_for_s: float
    records: int


def findings(before: Ledger, after: Ledger, records_written: int) -> list[str]:
    """What is wrong with a ledger after an upgrade. `records_written`: in the topic, read after the ledger."""
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
            found.append(f"minute {minute} salt {salt}: received {tally['received']}, explained {explained}")
    records = records_of(after)
    if records > records_written:
        found.append(f"the ledger holds {records} records, the topic {records_written}: some were read twice")
    return found


def records_of(ledger: Ledger) -> int:
    """All Kafka records in it."""
    return sum(tally["records"] for tally in ledger.values())


def upgrade(
    stack: Stack,
    job: str,
    *,
    start: Callable[[str], str],
    read_ledger: Callable[[], Ledger],
    count_written: Callable[[], int],
    say: Callable[[str], None] = lambda _line: None,
) -> Upgrade:
    """Upgrade a running job. `start` submits the new code from a savepoint and returns the job's id.

    Returns when the new job has read all that was written while none ran. Raises UpgradeError.
    """
    began_at_s = time.monotonic()
    savepoint = stack.flink_stop(job)
    say(f"stopped with savepoint {savepoint}")
    before = read_ledger()
    try:
        successor = start(savepoint)
    except FlinkCommandError as error:
        raise UpgradeError(
            f"the new code was refused, and no job runs. Start the code that ran before from the savepoint: "
            f"flink run -s {savepoint} -py jobs/view_counts.py\n{error}"
        ) from error
    stopped_for_s = time.monotonic() - began_at_s
    say(f"started as {successor} after {stopped_for_s:.0f} s without a job")
    written = count_written()
    deadline_s = time.monotonic() + CAUGHT_UP_S
    while records_of(after := read_ledger()) < written:
        if time.monotonic() > deadline_s:
            raise UpgradeError(
                f"{CAUGHT_UP_S:.0f} s after its start job {successor} has told of {records_of(after)} of {written} "
                f"records. If it fails, see its exceptions on Flink's page; the savepoint is {savepoint}"
            )
        time.sleep(POLL_S)
    found = findings(before, after, count_written())
    if found:
        raise UpgradeError(
            "the ledger does not hold across the upgrade:\n" + "\n".join(found) + f"\nThe savepoint is {savepoint}"
        )
    return Upgrade(savepoint, successor, stopped_for_s, records_of(after))
