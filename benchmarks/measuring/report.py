"""Shows the results of the throughput benchmark as text: lines, a table, ratios. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from rich.table import Table

FLINK_SETTINGS = (
    "parallelism.default",
    "taskmanager.memory.process.size",
    "taskmanager.memory.managed.size",
    "taskmanager.numberOfTaskSlots",
    "execution.checkpointing.interval",
    "execution.checkpointing.incremental",
    "python.execution-mode",
    "python.fn-execution.bundle.size",
    "python.fn-execution.bundle.time",
)
PROCESSES = {
    "taskmanager": "TaskManager",
    "python workers": "Python",
    "jobmanager": "JobManager",
    "kafka": "Kafka",
    "cassandra": "Cassandra",
    "seaweedfs": "S3",
    "zookeeper": "ZooKeeper",
}
COMPARED_BATCH = 2000
# The kinds of contenders that are the count job, with different sinks.
COUNT_JOB = ("a", "b", "e", "f")


def line(contender: Mapping[str, Any]) -> str:
    """The result of one run in a line."""
    steady = contender["steady"]
    closing = "" if steady["minutes_closing"] else ", no minute closed yet"
    return (
        f"{contender['name']}: {steady['events_per_s']:,} events/s over {steady['seconds']} s{closing}, "
        f"{steady['cpu_s_per_million_all']} CPU s a million; first event after {contender['start_up_s']} s"
    )


def best(contenders: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    """The fastest contender of a kind. Of the count job only those with batches of COMPARED_BATCH are considered."""
    found = [
        c
        for c in contenders
        if c["kind"] == kind and (kind not in COUNT_JOB or c["events_per_batch"] == COMPARED_BATCH)
    ]
    return max(found, key=lambda c: float(c["steady"]["events_per_s"]), default=None)


def compared(contenders: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of the contenders that run again in turns."""
    contenders = list(contenders)
    return [found["name"] for kind in (*COUNT_JOB, "c") if (found := best(contenders, kind)) is not None]


def ratios(
    contenders: Sequence[Mapping[str, Any]], targets: Mapping[str, float], turns: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The ratios of the count job to the best of the other kinds, if both ran, with the target if there is one.

    If contenders ran in turns, the ratio is that of the medians, and `by_turn` has the ratio of events/s of each turn.
    """
    found = []
    for mine in COUNT_JOB:
        for theirs in ("c", "d"):
            one, other = best(contenders, mine), best(contenders, theirs)
            if one is None or other is None:
                continue
            rates, others_rates = (_by_turn(c, "events_per_s", turns) for c in (one, other))
            cpu, others_cpu = (_by_turn(c, "cpu_s_per_million_all", turns) for c in (one, other))
            ratio = median(rates.values()) / median(others_rates.values())
            entry: dict[str, Any] = {
                "of": one["name"],
                "to": other["name"],
                "events_per_s": round(ratio, 2),
                "cpu_per_event": round(median(others_cpu.values()) / median(cpu.values()), 2),
            }
            if theirs == "c" and turns:
                # A turn in which one of the two failed has no ratio.
                both = sorted(rates.keys() & others_rates.keys())
                entry["by_turn"] = [round(rates[turn] / others_rates[turn], 2) for turn in both]
            if theirs == "c" and mine in targets:
                entry |= {"target": targets[mine], "is_reached": ratio >= targets[mine]}
            found.append(entry)
    return found


def _by_turn(contender: Mapping[str, Any], figure: str, turns: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """A figure of a contender by turn, or that of its first run as turn 0 if it had no turns."""
    again = {line["turn"]: float(line["steady"][figure]) for line in turns if line["name"] == contender["name"]}
    return again or {0: float(contender["steady"][figure])}


def verdicts(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """The ratios as sentences."""
    said = []
    for entry in found:
        text = (
            f"{entry['of']} does {entry['events_per_s']:g} times the events/s of {entry['to']}, with "
            f"{entry['cpu_per_event']:g} times as many events for the same CPU"
        )
        if "by_turn" in entry:
            text += f" ({', '.join(f'{ratio:g}' for ratio in entry['by_turn'])} by turn)"
        if "target" in entry:
            text += f"; target {entry['target']:g} times: {'reached' if entry['is_reached'] else 'NOT REACHED'}"
        said.append(text)
    return said


def table(contenders: Sequence[Mapping[str, Any]]) -> Table:
    """A table of rates, start-up times, and CPU seconds per million events by process."""
    shown = Table(title="Steady state; CPU in seconds per million events")
    shown.add_column("contender")
    for name in ("events/s", "start-up s", "minutes close", "CPU", *PROCESSES.values()):
        shown.add_column(name, justify="right")
    for contender in contenders:
        steady = contender["steady"]
        cpu = steady["cpu_s_per_million"]
        shown.add_row(
            contender["title"],
            f"{steady['events_per_s']:,}",
            str(contender["start_up_s"]),
            "yes" if steady["minutes_closing"] else "no",
            f"{steady['cpu_s_per_million_all']:.2f}",
            *(f"{cpu.get(process, 0.0):.2f}" for process in PROCESSES),
        )
    return shown
