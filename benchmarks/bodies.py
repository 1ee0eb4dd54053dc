"""Measures what reading and packing a body costs ingest, without HTTP and Kafka: `python -m benchmarks.bodies`.

Each body is read by kernels and by Python alone. The figure is the CPU time of this process for an event, the least of
some rounds, since others on the machine only add to it.
"""

import random
import time
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.inputs import bodies
from benchmarks.measuring import results
from benchmarks.measuring.machine import describe
from schemas.view_records import event_tail
from services.ingest.events import Terms
from services.ingest.packing import Reach
from services.ingest.recent.notes import Notes
from services.ingest.taking import ANYBODY, Packing, read
from settings import CountingSettings
from settings.durations import HOUR_MS

SIZES = (10, 100, 1000, 10_000)
NOW_MS = 1_767_225_600_000
BYTES_MAX = 1 << 26
NOTES = 200
# Only how small a body may be for kernels differs.
WAYS = {"kernels": 0, "python": BYTES_MAX}

console = Console()


def measure(media: str, body: bytes, events: int, kernel_bytes_min: int, rounds: int) -> float:
    """CPU µs for an event."""
    packing = Packing(NOW_MS, CountingSettings().salts, event_tail(project="default"), Reach(HOUR_MS, HOUR_MS))
    terms = Terms("default")
    least_ns = 1 << 62
    for _ in range(rounds):
        before = time.process_time_ns()
        reading = read(media, body, terms, packing, unpacked_bytes_max=BYTES_MAX, kernel_bytes_min=kernel_bytes_min)
        count = reading.pack().packed.count
        least_ns = min(least_ns, time.process_time_ns() - before)
        assert count == events, f"{count} of {events} events were taken"
    return least_ns / events / 1000


def measure_note(media: str, body: bytes, rounds: int) -> float:
    """CPU µs for a note of what became of a body, which each request pays."""
    reading = read(
        media, body, Terms("default"), Packing(NOW_MS, CountingSettings().salts), unpacked_bytes_max=BYTES_MAX
    )
    packed = reading.pack().packed
    notes = Notes("benchmark")
    least_ns = 1 << 62
    for _ in range(rounds):
        before = time.process_time_ns()
        for _ in range(NOTES):
            notes.note(ANYBODY, NOW_MS, packed, packed.rejected, 0, (media, body, ()))
        least_ns = min(least_ns, time.process_time_ns() - before)
    return least_ns / NOTES / 1000


def without_ids(some: list[bodies.Event]) -> list[bodies.Event]:
    """The same events as a client sends them that makes neither ids nor times."""
    return [{name: value for name, value in one.items() if name not in {"event_id", "viewed_at"}} for one in some]


def main(
    *,
    rounds: Annotated[int, typer.Option(help="How often each body is read.", min=1)] = 50,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Measure every form and size."""
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        some = bodies.events(size, random.Random(size), NOW_MS)  # noqa: S311 - the figures are to be the same each time
        note = round(measure_note(bodies.MEDIA["json"], bodies.body("json", some), rounds), 2)
        console.print(f"{size} events: a note costs {note} CPU µs a body", highlight=False)
        forms = [(form, media, bodies.body(form, some)) for form, media in bodies.MEDIA.items()]
        forms.append(("json without ids", bodies.MEDIA["json"], bodies.body("json", without_ids(some))))
        for form, media, body in forms:
            cost = {way: round(measure(media, body, size, least, rounds), 3) for way, least in WAYS.items()}
            rows.append(
                {"form": form, "events": size, "body_bytes": len(body), "cpu_us_per_event": cost, "note_cpu_us": note}
            )
            console.print(f"{size} events in {form}: {cost} CPU µs an event", highlight=False)
    results.publish("bodies", {"benchmark": "bodies", "machine": describe(), "bodies": rows}, is_kept=keep)


if __name__ == "__main__":
    typer.run(main)
