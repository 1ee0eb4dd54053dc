"""ViewBatch records of every version, as producers of several releases write them beside each other."""

from collections.abc import Mapping
from typing import Any

from schemas import registry

# The optional texts that each version adds to an event, at its end.
ADDED: dict[int, tuple[str, ...]] = {1: (), 2: ("agent", "exclusion", "project")}
VERSIONS = tuple(ADDED)
TEXTS = (None, "", "browser", "Regel ✓", "p" * 70)


def encode_batch(batch: Mapping[str, Any], version: int) -> bytes:
    """The record's value; what later versions add follows from each event's id."""
    if version == 1:
        return registry.encode("ViewBatch", dict(batch))
    events = [newer(event, version) for event in batch["events"]]
    traces = ["00-" + "a" * 32, ""][: len(events)]
    added = {"origin": "replay", "acknowledged": len(events) or None, "traceparents": traces}
    return registry.encode("ViewBatch", {**batch, **added, "events": events}, version=version)


def newer(event: Mapping[str, Any], version: int) -> dict[str, Any]:
    """An event as this version has it."""
    n = event["event_id"][2]
    names = [name for added in range(version) for name in ADDED[added + 1]]
    return {**event, **{name: TEXTS[(n + place) % len(TEXTS)] for place, name in enumerate(names)}}
