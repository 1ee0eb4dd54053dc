"""The figures of the benchmark of ingest: from turns to rows, verdicts and a table. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from rich.table import Table

Row = Mapping[str, Any]
FIGURES = ("events_per_s", "requests_per_s", "cpu_us_per_event", "cpu_us_per_request", "cores", "p50_ms", "p99_ms")
LOAD_FIGURES = ("statuses", "broken", "max_ms", "cpu_share", "throttled_s", "seconds", "not_sent")
# A load tool that was held back for a larger share of its time than this has not shown what the service can do.
THROTTLED_SHARE_MAX = 0.1
JSON_CPU_US = 3.0
COMPILED_JSON_CPU_US = 2.0
AVRO_CPU_US = 0.6
FASTAPI_TIMES = 5.0
SINGLE_CPU_US = 250.0
SINGLE_P99_MS = 150.0


def turn(told: Row, cpu_s: float) -> dict[str, Any]:
    """The figures of one run of the load tool, during which the service used so much CPU time."""
    seconds, events = told["seconds"], told["acknowledged"]
    answered = sum(told["statuses"].values())
    return {
        "events_per_s": round(events / seconds),
        "requests_per_s": round(answered / seconds),
        "cpu_us_per_event": round(cpu_s / events * 1e6, 2) if events else None,
        "cpu_us_per_request": round(cpu_s / answered * 1e6, 1) if answered else None,
        "cores": round(cpu_s / seconds, 2),
        "p50_ms": told["p50_ms"],
        "p99_ms": told["p99_ms"],
        "load": {name: told[name] for name in LOAD_FIGURES},
    }


def row(turns: Sequence[Row]) -> dict[str, Any]:
    """The median of each figure over the turns, the lowest and highest CPU time, and what spoils them."""
    costs = [one["cpu_us_per_event"] for one in turns if one["cpu_us_per_event"] is not None]
    return {
        **medians(turns, FIGURES),
        "cpu_us_per_event_range": [min(costs), max(costs)] if costs else None,
        "spoilt_by": spoilt(turns),
    }


def medians(turns: Sequence[Row], figures: Iterable[str]) -> dict[str, Any]:
    """The median of each of these figures over the turns that have it."""
    found: dict[str, Any] = {}
    for name in figures:
        values = [one[name] for one in turns if one[name] is not None]
        found[name] = round(median(values), 2) if values else None
    return found


def spoilt(turns: Iterable[Row]) -> list[str]:
    """Why a row's figures are not those of the service at its best."""
    found: dict[str, None] = {}
    for load in (one["load"] for one in turns):
        if load["broken"]:
            found["requests without an answer"] = None
        if any(not status.startswith("2") for status in load["statuses"]):
            found["requests that were refused"] = None
        if load["throttled_s"] > THROTTLED_SHARE_MAX * load["seconds"]:
            found["the load tool was at its limit of CPU"] = None
        if load["not_sent"]:
            found["requests that were given up before they were sent"] = None
    return list(found)


def found(rows: Iterable[Row], **wanted: object) -> Row | None:
    """The row with these values; None if there is none."""
    return next((one for one in rows if all(one[name] == value for name, value in wanted.items())), None)


def verdicts(rows: Sequence[Row], single: Sequence[Row]) -> list[dict[str, Any]]:
    """Each target whose figures are there: what, the value, the target, and whether it is reached."""
    said: list[dict[str, Any]] = []

    def judge(what: str, value: float | None, target: float) -> None:
        if value is not None:
            said.append({"what": what, "value": round(value, 2), "target": target, "is_reached": value <= target})

    def cost(service: str, form: str, events: int) -> float | None:
        one = found(rows, service=service, form=form, encoding="identity", events_per_body=events)
        return None if one is None else one["cpu_us_per_event"]

    judge("CPU µs an event, JSON of 1,000", cost("ours", "json", 1000), JSON_CPU_US)
    judge("CPU µs an event, JSON of 1,000, by compiled code", cost("ours", "json", 1000), COMPILED_JSON_CPU_US)
    judge("CPU µs an event, Avro of 1,000", cost("ours", "avro", 1000), AVRO_CPU_US)
    for events in (1000, 100, 1):
        ours, plain, go = (cost(name, "json", events) for name in ("ours", "fastapi", "go"))
        if ours is not None and plain is not None and events == 1000:
            judge("CPU beside FastAPI, JSON of 1,000 (share of its)", ours / plain, 1 / FASTAPI_TIMES)
        if ours is not None and go is not None:
            # Smaller bodies are reported, and have no target.
            target = 1.0 if events == 1000 else float("inf")
            judge(f"CPU beside Go, JSON of {events:,} (share of its)", ours / go, target)
    one = found(rows, service="ours", form="json", encoding="identity", events_per_body=1)
    judge("CPU µs a request of one event", None if one is None else one["cpu_us_per_request"], SINGLE_CPU_US)
    half = found(single, service="ours")
    judge("p99 ms of one event at half of the rate", None if half is None else half["p99_ms"], SINGLE_P99_MS)
    for verdict in said:
        if verdict["target"] == float("inf"):
            verdict["target"] = verdict["is_reached"] = None
    return said


def verdict_line(verdict: Row) -> str:
    """A verdict as a sentence."""
    if verdict["target"] is None:
        return f"{verdict['what']}: {verdict['value']:g}, without a target"
    reached = "reached" if verdict["is_reached"] else "NOT REACHED"
    return f"{verdict['what']}: {verdict['value']:g}; target at most {verdict['target']:g}: {reached}"


def table(rows: Iterable[Row]) -> Table:
    """Every row, those of one kind of body next to each other."""
    shown = Table(title="Ingest: medians of the turns")
    for name in ("events a body", "form", "encoding", "service"):
        shown.add_column(name)
    for name in ("events/s", "requests/s", "CPU µs an event", "CPU µs a request", "cores", "p50 ms", "p99 ms"):
        shown.add_column(name, justify="right")
    shown.add_column("guarantees less / spoilt by")
    for one in rows:
        notes = [*(["yes"] if one["guarantees_less"] else []), *one["spoilt_by"]]
        cells = (one[name] for name in FIGURES)
        shown.add_row(
            f"{one['events_per_body']:,}",
            one["form"],
            one["encoding"],
            one["service"],
            *("" if value is None else f"{value:,}" for value in cells),
            "; ".join(notes),
        )
    return shown
