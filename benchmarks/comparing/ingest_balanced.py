"""Two processes of ingest behind HAProxy beside one without, at the same rates, by turns.

All processes of ingest are on one core, and HAProxy is on the others, with Kafka and the load tool. Each request has a
UUIDv7 as its Idempotency-Key, as the Python client sends it, so that HAProxy reads the body to its end first.
"""

import contextlib
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.comparing.ingest_host import Running
from benchmarks.comparing.ingest_turns import Case, Sender
from benchmarks.comparing.load_tool import LoadPlan, load
from benchmarks.comparing.service_host import STOP_WITHIN_S, BenchError
from benchmarks.contenders.ingest_services import Place, Service
from benchmarks.measuring import balanced_figures, ingest_figures
from settings import Settings
from tools.balancer import Balancer, Door, Listed, Times, configuration
from tools.stack.machine.haproxy import haproxy
from tools.stack.machine.ports import HOST, free_ports

SECOND = "second"
CASES = (Case("json", "identity", 100), Case("json", "identity", 1))
# Of what one process takes in the closed loop: so much that both ways can bear it.
RATE_SHARE = 0.5
READY_WITHIN_S = 20.0


def repeatable(service: Service) -> Service:
    """The service with a key on each request by which HAProxy may repeat it. The events have ids, so one will do."""
    number = uuid.uuid4().int & ~(0xF << 76) & ~(0x3 << 62) & (1 << 80) - 1 | 7 << 76 | 2 << 62
    key = str(uuid.UUID(int=(time.time_ns() // 1_000_000) << 80 | number))
    access = replace(service.access, headers={**service.access.headers, "Idempotency-Key": key})
    return replace(service, access=access)


@contextlib.contextmanager
def balanced(processes: Sequence[Running], folder: Path) -> Iterator[Running]:
    """HAProxy in front of these processes, as if it were a service, until the context ends. Raises BenchError."""
    ports = free_ports(("ingest", "query", "private"))
    addresses = [f"{HOST}:{one.place.port}" for one in processes]
    made = Balancer(
        Door(f"{HOST}:{ports['ingest']}", None, Listed(addresses)),
        Door(f"{HOST}:{ports['query']}", None, Listed(addresses)),
        private=f"{HOST}:{ports['private']}",
        socket=folder / "haproxy.sock",
        threads=1,
        balancers=1,
    )
    file = folder / "haproxy.cfg"
    file.write_text(configuration(made, Times.of(Settings())), encoding="utf-8")
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([str(haproxy()), "-W", "-f", str(file)], stdout=log, stderr=log)
    try:
        _wait_ready(ports["ingest"])
        place = replace(processes[0].place, port=ports["ingest"], private_port=ports["private"])
        yield Running(replace(processes[0].service, name="balanced"), place, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(STOP_WITHIN_S)


def _wait_ready(port: int) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"http://{HOST}:{port}/readyz", trust_env=False).status_code == httpx2.codes.OK:
                return
        time.sleep(0.1)
    raise BenchError(f"HAProxy led to no process of ingest within {READY_WITHIN_S:.0f} s")


def compare(
    processes: Sequence[Running], balancer: Running, sender: Sender, turns: int, seconds: float
) -> dict[str, Any]:
    """Measure by turns. The first process alone is the one without a balancer."""
    rows = []
    for case in CASES:
        service = processes[0].service
        best = sender.measure(processes[0], sender.plan(case, service, seconds))["requests_per_s"]
        plan = sender.plan(case, service, seconds, rate=best * RATE_SHARE)
        measured: dict[str, list[dict[str, Any]]] = {"one": [], "two": []}
        for turn in range(turns):
            for name in ("one", "two")[:: 1 if turn % 2 == 0 else -1]:
                is_one = name == "one"
                measured[name].append(
                    _turn(processes[:1] if is_one else processes, None if is_one else balancer, sender.tool, plan)
                )
        rows.append({**case.described(), "rate": round(best * RATE_SHARE), **balanced_figures.row(measured)})
    return {"turns": turns, "seconds": seconds, "balanced": rows}


def _turn(processes: Sequence[Running], balancer: Running | None, tool: Path, plan: LoadPlan) -> dict[str, Any]:
    costs = [one.cpu_s() for one in processes]
    events = [taken(one.place) for one in processes]
    balancer_s = 0.0 if balancer is None else balancer.cpu_s()
    told = load(tool, (processes[0] if balancer is None else balancer).place.url, plan)
    used = [one.cpu_s() - before for one, before in zip(processes, costs, strict=True)]
    found = ingest_figures.turn(told, sum(used))
    answered = sum(told["statuses"].values())
    return {
        **found,
        "events_by_process": [taken(one.place) - before for one, before in zip(processes, events, strict=True)],
        "cpu_s_by_process": [round(one, 3) for one in used],
        "balancer_cpu_us_per_request": (
            None if balancer is None or not answered else round((balancer.cpu_s() - balancer_s) / answered * 1e6, 1)
        ),
    }


def taken(place: Place) -> int:
    """How many events of a process of ingest Kafka has acknowledged since its start."""
    url = f"http://{HOST}:{place.private_port}/metrics"
    text = httpx2.get(url, trust_env=False).raise_for_status().text
    return acknowledged_events(text)


def acknowledged_events(metrics: str) -> int:
    """The events that Kafka has acknowledged, in an answer of GET /metrics."""
    return sum(
        int(sample.value)
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "view_counts_ingest_events_total" and sample.labels["outcome"] == "acknowledged"
    )
