"""What is told of a service that was sent too much: is its memory flat, how much did it take, and how soon. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

Told = Mapping[str, Any]
# The first part of a run fills queues and caches, and is not judged.
WARM_UP_SHARE = 0.2
MEMORY_SPREAD_MAX = 0.05
ACCEPTED_SHARE_MIN = 0.9
P99_MS_MAX = 250.0
SERVER_P99_MS_MAX = 20.0
LAG = "view_counts_ingest_loop_lag_seconds"
MIB = 1 << 20


class MemorySample(NamedTuple):
    """Resident and proportional bytes of a service, so many seconds after the first request."""

    at_s: float
    rss_bytes: int
    pss_bytes: int


def memory(samples: Sequence[MemorySample]) -> dict[str, Any]:
    """How far the proportional bytes move after the warm-up, as a share of their median, and the peak of all."""
    if not samples:
        return {"samples": 0}
    judged = [one for one in samples if one.at_s >= WARM_UP_SHARE * samples[-1].at_s]
    sizes = [one.pss_bytes for one in judged]
    return {
        "samples": len(samples),
        "pss_mib": round(median(sizes) / MIB, 1),
        "pss_mib_range": [round(min(sizes) / MIB, 1), round(max(sizes) / MIB, 1)],
        "pss_mib_first_and_last": [round(one.pss_bytes / MIB, 1) for one in (judged[0], judged[-1])],
        "spread": round((max(sizes) - min(sizes)) / median(sizes), 4),
        "rss_mib_peak": round(max(one.rss_bytes for one in samples) / MIB, 1),
        "pss_mib_peak": round(max(one.pss_bytes for one in samples) / MIB, 1),
    }


def accepted_share(clients: Iterable[Told], best_events_per_s: float) -> float:
    """Acknowledged events/s of all clients together, as a share of the best rate."""
    told = list(clients)
    seconds = max(one["seconds"] for one in told)
    return round(sum(one["acknowledged"] for one in told) / seconds / best_events_per_s, 3)


def lag_p99_ms(before: str, after: str) -> float:
    """The bound in ms that 99% of the samples of the loop's lag keep, by the metrics before a run and after it."""
    counts = {bound: count - _buckets(before).get(bound, 0) for bound, count in _buckets(after).items()}
    total = counts[math.inf]
    return next(bound for bound, count in sorted(counts.items()) if count >= 0.99 * total) * 1000


def _buckets(metrics: str) -> dict[float, float]:
    families = text_string_to_metric_families(metrics)
    samples = [sample for family in families if family.name == LAG for sample in family.samples]
    return {float(one.labels["le"]): one.value for one in samples if one.name == f"{LAG}_bucket"}


def verdicts(found: Told) -> list[dict[str, Any]]:
    """Each target: what, the value, the target, and whether it is reached."""
    slowest = max(max(one["p99_ms"], one["refused_p99_ms"]) for one in found["clients"].values())
    missing, share = found["recount"]["missing"], found["accepted_share_of_best"]
    spread = found["memory"].get("spread")
    said = [
        {
            "what": "accepted rate as a share of the best",
            "value": share,
            "target": f"at least {ACCEPTED_SHARE_MIN:g}",
            "is_reached": share >= ACCEPTED_SHARE_MIN,
        },
        {
            "what": "p99 ms at the slower client, refusals too",
            "value": slowest,
            "target": f"at most {P99_MS_MAX:g}",
            "is_reached": slowest <= P99_MS_MAX,
        },
        {
            "what": "p99 ms by which the server's loop is late",
            "value": found["lag_p99_ms"],
            "target": f"at most {SERVER_P99_MS_MAX:g}",
            "is_reached": found["lag_p99_ms"] <= SERVER_P99_MS_MAX,
        },
        {
            "what": "acknowledged events that the topic lacks",
            "value": missing,
            "target": "0",
            "is_reached": missing == 0,
        },
    ]
    if spread is not None:
        said.append(
            {
                "what": "PSS between its lowest and highest, as a share of the median",
                "value": spread,
                "target": f"at most {MEMORY_SPREAD_MAX:g}",
                "is_reached": spread <= MEMORY_SPREAD_MAX,
            }
        )
    return said


def verdict_line(verdict: Told) -> str:
    """A verdict as a sentence."""
    reached = "reached" if verdict["is_reached"] else "NOT REACHED"
    return f"{verdict['what']}: {verdict['value']:g}; target {verdict['target']}: {reached}"
