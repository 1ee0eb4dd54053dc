"""What goes on beside the questions: minutes that close while nothing is viewed, or the count job under load."""

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.comparing import query_seeding
from benchmarks.comparing.service_host import BenchError
from connectors.cassandra import connect
from schemas.jobs import COUNT
from settings import Settings
from tools.demo.traffic import DemoTraffic
from tools.stack import Stack

BEAT_S = 1.0
# Flink and Cassandra compile their code meanwhile.
WARM_UP_S = 60.0
RATE = 2000
FIRST_WITHIN_S = 120.0
# If fewer of the events were taken, the job had less to do than was asked for.
SHARE_MIN = 0.9


@contextlib.contextmanager
def idle(settings: Settings) -> Iterator[None]:
    """Minutes close, as they do while the count job runs and nothing is viewed, until the context ends."""
    session = connect(settings.cassandra)
    stopping = threading.Event()
    behind = timedelta(milliseconds=settings.counting.lateness_ms)

    def beat() -> None:
        query_seeding.beat(session, settings.counting.shards, datetime.now(UTC) - behind)

    def run() -> None:
        while not stopping.wait(BEAT_S):
            beat()

    thread = threading.Thread(target=run, name="beat")
    try:
        beat()
        thread.start()
        yield
    finally:
        stopping.set()
        if thread.is_alive():
            thread.join()
        session.cluster.shutdown()


@contextlib.contextmanager
def counting(stack: Stack, settings: Settings, told: dict[str, Any]) -> Iterator[None]:
    """The count job counts RATE events a second until the context ends; `told` then gets how many were taken.

    Raises BenchError if ingest takes none of them, or fewer than SHARE_MIN.
    """
    stack.flink_run(["-py", COUNT.file])
    stopping = threading.Event()
    load = DemoTraffic(stack.endpoints["ingest"], RATE, settings.counting.salts, stopping)
    load.start()
    try:
        deadline_s = time.monotonic() + FIRST_WITHIN_S
        while load.accepted == 0 and time.monotonic() < deadline_s:
            time.sleep(0.1)
        time.sleep(WARM_UP_S)
        before, began_s = load.accepted, time.monotonic()
        yield
        told["accepted_events_per_s"] = round((load.accepted - before) / (time.monotonic() - began_s))
    finally:
        stopping.set()
        load.join()
    if load.trouble or told["accepted_events_per_s"] < SHARE_MIN * RATE:
        raise BenchError(
            f"ingest took {told['accepted_events_per_s']} of {RATE} events a second, so these are no figures beside "
            f"the count job at that rate; {load.trouble or 'the machine has too few cores for both'}"
        )
