"""Sends ingest more than it can take, for minutes, and watches what it does with memory, latency and events.

Two clients send half each, at fixed rates. One holds back when an answer says so by Retry-After. The other ignores
every refusal.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.comparing.ingest_host import Running
from benchmarks.comparing.ingest_turns import Case, Sender
from benchmarks.comparing.load_tool import LoadPlan, load_figures, start_load
from benchmarks.comparing.service_host import cores
from benchmarks.measuring import ingest_recount, overload_figures
from benchmarks.measuring.overload_figures import MemorySample
from tools.stack.layout import repository
from tools.stack.machine.ports import HOST

CASE = Case("json", "identity", 100)
TIMES_SATURATION = 1.5
# The best rate is that of the best of these runs, by the client's number in the ids of the events: with how many
# connections. None holds back, so that a refusal among many does not look like the rate of the service.
SATURATION_CONNECTIONS = {3: 64, 4: 128, 5: 256}
SATURATION_S = 4.0
SAMPLE_EVERY_S = 1.0
# The control ends about when the clients do.
LATE_END_S = 30.0
# Of each of the two load tools, so that both together use half a core.
LOAD_CPU = 0.25
# By the number in the ids of its events; 0 is the client of the check before.
CLIENTS = {1: "polite", 2: "ignores_refusals"}


def overload(running: Running, sender: Sender, folder: Path, seconds: float) -> dict[str, Any]:
    """Find the best rate, send 1.5 times as much for so long, and return what was found."""
    service = running.service
    plans = [
        replace(
            sender.plan(CASE, service, SATURATION_S, more=(*_fresh(number), "-ignores-refusals")),
            connections=connections,
        )
        for number, connections in SATURATION_CONNECTIONS.items()
    ]
    best = max(sender.measure(running, plan)["events_per_s"] for plan in plans)
    rate = best * TIMES_SATURATION / CASE.events_per_body / len(CLIENTS)
    files = [(folder / f"client-{number}.acknowledged", number) for number in CLIENTS]
    plans = [_plan(sender, running, path, number, rate, seconds) for path, number in files]
    lags = _metrics(running)
    before_s, waited_s, began_at = running.cpu_s(), _waited_for_core_s(running.process), time.monotonic()
    with _sampled(running.process) as samples, contextlib.ExitStack() as stack:
        idle = _idle_loop(running.process, seconds)
        processes = [start_load(sender.tool, running.place.url, plan) for plan in plans]
        for process in (idle, *processes):
            # If one fails, the others must not go on.
            stack.callback(process.kill)
        told = [load_figures(process, seconds) for process in processes]
        took_s = time.monotonic() - began_at
        waited_share = round((_waited_for_core_s(running.process) - waited_s) / took_s, 4)
        idle_lag = json.loads(idle.communicate(timeout=LATE_END_S)[0])
    lag_p99_ms = overload_figures.lag_p99_ms(lags, _metrics(running))
    used_s = running.cpu_s() - before_s
    clients = dict(zip(CLIENTS.values(), told, strict=True))
    counted = ingest_recount.recount(running.place.brokers, running.place.topic, files, CASE.events_per_body)
    return {
        "case": CASE.described(),
        "best_events_per_s": best,
        "offered_events_per_s": round(rate * CASE.events_per_body * len(CLIENTS)),
        "seconds": round(took_s, 1),
        "cores": round(used_s / took_s, 2),
        "clients": clients,
        "memory": overload_figures.memory(samples),
        "accepted_share_of_best": overload_figures.accepted_share(clients.values(), best),
        "lag_p99_ms": lag_p99_ms,
        "idle_loop_lag": idle_lag,
        "loop_waited_for_core_share": waited_share,
        "recount": counted,
    }


def _plan(sender: Sender, running: Running, path: Path, number: int, rate: float, seconds: float) -> LoadPlan:
    more = [*_fresh(number), f"-acknowledged={path}"]
    if CLIENTS[number] == "ignores_refusals":
        more.append("-ignores-refusals")
    return sender.plan(CASE, running.service, seconds, rate=rate, cpu=LOAD_CPU, more=more)


def _idle_loop(service: psutil.Process, seconds: float) -> "subprocess.Popen[str]":
    """Start the control on the cores of the service."""
    command = [sys.executable, "-m", "benchmarks.measuring.idle_loop", str(seconds)]
    with cores(set(service.cpu_affinity())):
        return subprocess.Popen(command, cwd=repository(), stdout=subprocess.PIPE, text=True)


def _waited_for_core_s(service: psutil.Process) -> float:
    """How long the thread of the service's loop could have run so far and had to wait for a core."""
    text = Path(f"/proc/{service.pid}/task/{service.pid}/schedstat").read_text(encoding="ascii")
    return int(text.split()[1]) / 1e9


def _metrics(running: Running) -> str:
    with urllib.request.urlopen(f"http://{HOST}:{running.place.private_port}/metrics", timeout=30) as answer:
        return str(answer.read(), "utf-8")


def _fresh(client: int) -> list[str]:
    return ["-fresh-ids", f"-client={client}"]


@contextlib.contextmanager
def _sampled(process: psutil.Process) -> Iterator[list[MemorySample]]:
    """The list of samples of the process and its children, which grows until the context ends."""
    samples: list[MemorySample] = []
    ended = threading.Event()

    def look() -> None:
        began_at = time.monotonic()
        while not ended.wait(SAMPLE_EVERY_S):
            with contextlib.suppress(psutil.NoSuchProcess):
                family = (process, *process.children(recursive=True))
                found = [one.memory_full_info() for one in family]
                at_s = time.monotonic() - began_at
                samples.append(MemorySample(at_s, sum(one.rss for one in found), sum(one.pss for one in found)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()
