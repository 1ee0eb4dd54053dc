"""The figures of two processes of ingest behind a balancer, beside one without: turns, rows, verdicts. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.measuring import ingest_figures

Row = Mapping[str, Any]
# What two processes may need for an event, as a share of what one needs.
CPU_SHARE_MAX = 1.1
# By how much the process with more events may have more than the other.
UNEVEN_MAX = 0.1
BALANCER_CPU_US = 60.0


def row(measured: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """The figures of both ways, and what follows from them."""
    one, two = (ingest_figures.row(measured[name]) for name in ("one", "two"))
    costs = [turn["balancer_cpu_us_per_request"] for turn in measured["two"]]
    found = [cost for cost in costs if cost is not None]
    return {
        "one": one,
        "two": two,
        "cpu_share": _share(two["cpu_us_per_event"], one["cpu_us_per_event"]),
        "uneven": uneven(sum_of(turn["events_by_process"] for turn in measured["two"])),
        "balancer_cpu_us_per_request": round(median(found), 1) if found else None,
        "by_turn": {name: list(turns) for name, turns in measured.items()},
    }


def sum_of(turns: Iterable[Sequence[int]]) -> list[int]:
    """The events of each process over all turns."""
    return [sum(column) for column in zip(*turns, strict=True)]


def uneven(events: Sequence[int]) -> float | None:
    """By what share the process with the most events has more than the one with the fewest; None if one has none."""
    return round(max(events) / min(events) - 1, 3) if events and min(events) > 0 else None


def _share(value: float | None, of: float | None) -> float | None:
    return None if value is None or not of else round(value / of, 3)


def verdicts(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Each target: what, the value, the target, and whether it is reached. A value that is missing reaches none."""
    said = []
    for one in rows:
        of = f"bodies of {one['events_per_body']:,}"
        for what, value, target in (
            (f"CPU an event of two processes, {of} (share of one's)", one["cpu_share"], CPU_SHARE_MAX),
            (f"events of one process beyond the other's, {of} (share)", one["uneven"], UNEVEN_MAX),
            (f"CPU µs of HAProxy a request, {of}", one["balancer_cpu_us_per_request"], BALANCER_CPU_US),
        ):
            shown = float("nan") if value is None else value
            said.append({"what": what, "value": shown, "target": target, "is_reached": shown <= target})
    return said
