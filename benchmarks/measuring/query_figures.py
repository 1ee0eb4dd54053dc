"""The figures of the benchmark of queries: from turns to rows, verdicts and a table. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from benchmarks.measuring.ingest_figures import LOAD_FIGURES, medians, spoilt

Row = Mapping[str, Any]
FIGURES = ("answers_per_s", "cpu_us", "cores", "cassandra_cores", "p50_ms", "p99_ms", "max_ms")


def turn(told: Row, cpu_s: float, cassandra_cpu_s: float) -> dict[str, Any]:
    """The figures of one run of the load tool, during which the service and Cassandra used so much CPU time."""
    seconds = told["seconds"]
    good = sum(number for status, number in told["statuses"].items() if status.startswith("2"))
    answered = sum(told["statuses"].values())
    return {
        "answers_per_s": round(good / seconds, 1),
        "cpu_us": round(cpu_s / answered * 1e6, 1) if answered else None,
        "cores": round(cpu_s / seconds, 2),
        "cassandra_cores": round(cassandra_cpu_s / seconds, 2),
        # Of good answers; without one there is no time.
        **{name: told[name] if good else None for name in ("p50_ms", "p99_ms", "max_ms")},
        "answer_bytes": round(told["answer_bytes"] / answered) if answered else None,
        "load": {name: told[name] for name in LOAD_FIGURES},
    }


def row(turns: Sequence[Row]) -> dict[str, Any]:
    """The median of each figure over the turns, and what spoils them."""
    return {**medians(turns, FIGURES), "spoilt_by": spoilt(turns)}


def verdicts(rows: Sequence[Row], targets: Mapping[str, Mapping[str, float]], ours: str) -> list[dict[str, Any]]:
    """Each target of a case whose figures are there: what, the value, the target, and whether it is reached.

    `targets` has p99_ms, per_s and times_others by case. A p99 is not reached if some
    requests had no good answer.
    """
    said: list[dict[str, Any]] = []
    for one in rows:
        wanted = targets.get(one["case"], {})
        if one["service"] != ours:
            continue
        if "p99_ms" in wanted:
            value, target = one["p99_ms"], wanted["p99_ms"]
            is_reached = not one["spoilt_by"] and value is not None and value <= target
            said.append(_verdict(f"{one['title']}: p99 ms", value, f"at most {target:g}", is_reached=is_reached))
        if "per_s" in wanted:
            value, target = one["answers_per_s"], wanted["per_s"]
            is_reached = value is not None and value >= target
            said.append(_verdict(f"{one['title']}: answers/s", value, f"at least {target:g}", is_reached=is_reached))
        if "times_others" in wanted:
            said += _times(one, [other for other in rows if other["case"] == one["case"]], wanted["times_others"])
    return said


def _times(one: Row, rows: Iterable[Row], target: float) -> Iterable[dict[str, Any]]:
    for other in rows:
        if other["service"] == one["service"] or not other["answers_per_s"] or not one["answers_per_s"]:
            continue
        value = round(one["answers_per_s"] / other["answers_per_s"], 2)
        what = f"{one['title']}: answers/s beside {other['service']} (times its)"
        yield _verdict(what, value, f"at least {target:g}", is_reached=value >= target)


def _verdict(what: str, value: float | None, target: str, *, is_reached: bool) -> dict[str, Any]:
    return {"what": what, "value": value, "target": target, "is_reached": is_reached}


def verdict_line(verdict: Row) -> str:
    """A verdict as a sentence."""
    value = "nothing" if verdict["value"] is None else f"{verdict['value']:g}"
    reached = "reached" if verdict["is_reached"] else "NOT REACHED"
    return f"{verdict['what']}: {value}; target {verdict['target']}: {reached}"


def table(rows: Iterable[Row]) -> Table:
    """Every row, those of one kind of question next to each other."""
    shown = Table(title="Query: medians of the turns")
    for name in ("question", "service"):
        shown.add_column(name)
    for name in ("asked/s", "answers/s", "CPU µs an answer", "cores", "of Cassandra", "p50 ms", "p99 ms", "max ms"):
        shown.add_column(name, justify="right")
    shown.add_column("spoilt by")
    for one in rows:
        cells = (one[name] for name in ("rate", *FIGURES))
        shown.add_row(
            one["title"],
            one["service"],
            *("" if value is None else f"{value:,g}" for value in cells),
            one.get("left_out") or "; ".join(one["spoilt_by"]),
        )
    return shown
