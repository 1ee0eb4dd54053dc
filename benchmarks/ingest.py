"""`make bench-ingest`: what an event costs the ingest service, beside a FastAPI service and one in Go.

All run on real Kafka, on this machine alone, in turns of some seconds. A Go program sends bodies that were made before,
and may use half a core. CPU time is that of the service's process. benchmarks.contenders.ingest_services says what the
others guarantee less, and benchmarks.inputs.bodies what an event looks like. With --overload the ingest service alone
gets 1.5 times what it can take (benchmarks.comparing.ingest_overload). With --balanced two processes of it run behind
HAProxy, beside one without (benchmarks.comparing.ingest_balanced).
"""

import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from rich.console import Console

from benchmarks.comparing import ingest_balanced, ingest_host, ingest_overload, service_host
from benchmarks.comparing.ingest_turns import SINGLE, Case, Sender, cases, schedule
from benchmarks.contenders import ingest_services
from benchmarks.contenders.ingest_services import OURS, SERVICES, Place, Service
from benchmarks.measuring import (
    balanced_figures,
    go_programs,
    ingest_figures,
    ingest_recount,
    overload_figures,
    results,
)
from benchmarks.measuring.machine import commit, describe
from schemas.topics import topics
from settings import Settings
from tools.stack import Stack, StackOptions
from tools.stack.layout import repository
from tools.stack.machine.ports import free_ports

PARTS = ("kafka", "redis")
CHECK = Case("json", "identity", 100)
CHECK_S = 1.5

# Without a terminal, as in a log, the table would be 80 columns wide.
console = Console() if sys.stdout.isatty() else Console(width=170)


def main(
    *,
    only: Annotated[str, typer.Option(help="Services, separated by commas.")] = ",".join(SERVICES),
    before: Annotated[
        Path | None,
        typer.Option(help="Another checkout of this repository, whose ingest service takes part too.", exists=True),
    ] = None,
    quick: Annotated[bool, typer.Option(help="One short turn of each: a smoke test without valid figures.")] = False,
    turns: Annotated[int, typer.Option(help="How often the list of measurements is repeated.", min=1, max=20)] = 3,
    seconds: Annotated[float, typer.Option(help="How long each measurement lasts.", min=0.5, max=60)] = 4.0,
    overload: Annotated[bool, typer.Option(help="Send ours 1.5 times what it can take, in place of all else.")] = False,
    balanced: Annotated[
        bool, typer.Option(help="Two processes of ours behind HAProxy beside one without, in place of all else.")
    ] = False,
    minutes: Annotated[float, typer.Option(help="How long --overload lasts.", min=0.1, max=30)] = 5.0,
    pin: Annotated[bool, typer.Option(help="Give the measured service the first core for itself.")] = True,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Measure, and print the verdicts. The exit code is 1 if an event that was acknowledged is missing."""
    services = [OURS] if overload or balanced else _chosen(only)
    if before is not None and not overload and not balanced:
        services.insert(1, ingest_services.before(before.resolve()))
    if quick:
        turns, seconds, minutes = 1, 1.5, min(minutes, 0.5)
    own, others = service_host.shares(os.sched_getaffinity(0), is_pinned=pin)
    result: dict[str, Any] = {
        "benchmark": "ingest-overload" if overload else "ingest-balanced" if balanced else "ingest",
        "quick": quick,
        "machine": {**describe(), "go": go_programs.go_version()},
        "is_pinned": bool(own),
        "services": [_described(service) for service in services],
    }
    with tempfile.TemporaryDirectory(prefix="view-counts-bench-") as name, service_host.cores(others):
        folder = Path(name)
        # Another checkout may know no keys.
        services = [ingest_services.with_key(one, folder / "keys.json") if one is OURS else one for one in services]
        if not overload:
            services = [ingest_services.patient(one) if one.name == OURS.name else one for one in services]
        if balanced:
            services = [ingest_balanced.repeatable(one) for one in services]
            services.append(replace(services[0], name=ingest_balanced.SECOND))
        sender = Sender(go_programs.build("load"), folder)
        with ExitStack() as stack:
            running = _start(stack, folder, services, own)
            if balanced:
                processes = list(running.values())
                door = stack.enter_context(ingest_balanced.balanced(processes, folder))
                running = {**running, door.service.name: door}
            result["checks"] = {
                one.service.name: _check(one, client, sender, folder) for client, one in enumerate(running.values())
            }
            if overload:
                result |= ingest_overload.overload(running[OURS.name], sender, folder, minutes * 60)
            elif balanced:
                result |= ingest_balanced.compare(processes, door, sender, turns, seconds)
            else:
                result |= _compare(running, sender, turns, seconds)
    _tell(result)
    results.publish(f"{result['benchmark']}-quick" if quick else result["benchmark"], result, is_kept=keep)
    recounts = [*result["checks"].values(), result.get("recount", {"missing": 0})]
    if any(one["missing"] for one in recounts):
        raise typer.Exit(1)


def _compare(running: Mapping[str, ingest_host.Running], sender: Sender, turns: int, seconds: float) -> dict[str, Any]:
    rows = _rows(running, sender, turns, seconds)
    return {
        "turns": turns,
        "seconds": seconds,
        "rows": rows,
        "single_at_half_rate": _at_half_rate(running, sender, rows, turns, seconds),
    }


def _tell(result: dict[str, Any]) -> None:
    """Judge the result, and print the table and the verdicts."""
    if "rows" in result:
        result["verdicts"] = ingest_figures.verdicts(result["rows"], result["single_at_half_rate"])
        console.print(ingest_figures.table(result["rows"]))
        lines = map(ingest_figures.verdict_line, result["verdicts"])
    elif "balanced" in result:
        result["verdicts"] = balanced_figures.verdicts(result["balanced"])
        lines = map(ingest_figures.verdict_line, result["verdicts"])
    else:
        result["verdicts"] = overload_figures.verdicts(result)
        lines = map(overload_figures.verdict_line, result["verdicts"])
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _chosen(only: str) -> list[Service]:
    names = [name.strip() for name in only.split(",")]
    unknown = [name for name in names if name not in SERVICES]
    if unknown:
        raise typer.BadParameter(f"only={only}: there is no service {unknown[0]!r}; there are {', '.join(SERVICES)}")
    return [SERVICES[name] for name in dict.fromkeys(names)]


def _described(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "title": service.title,
        "forms": service.forms,
        "encodings": service.encodings,
        "guarantees_less": service.guarantees_less,
        "commit": commit(service.folder or repository()),
    }


def _start(
    stack: ExitStack, folder: Path, services: Sequence[Service], own: set[int]
) -> Mapping[str, ingest_host.Running]:
    options = StackOptions(home=folder / "stack", ports="free", parts=PARTS, graceful_stop=False)
    kafka = stack.enter_context(Stack(options))
    brokers = kafka.endpoints["kafka"]
    _make_topics(brokers, services)
    go_peer = go_programs.build("go") if any(service.name == "go" for service in services) else None
    ports = free_ports([f"{kind}-{service.name}" for service in services for kind in ("public", "private")])
    running = {}
    for service in services:
        public, private = (ports[f"{kind}-{service.name}"] for kind in ("public", "private"))
        place = Place(public, private, brokers, service.topic, go_peer)
        log = folder / f"{service.name}.log"
        context = ingest_host.running(service, place, kafka.process_environment(), own, log)
        running[service.name] = stack.enter_context(context)
    return running


def _make_topics(brokers: str, services: Sequence[Service]) -> None:
    """The topics of the others, as the product's own is."""
    events = topics(Settings())[0]
    admin = AdminClient({"bootstrap.servers": brokers})
    others = {one.topic for one in services} - {events.name}
    new = [NewTopic(name, events.partitions, 1, config=events.config) for name in others]
    for future in (admin.create_topics(new) if new else {}).values():
        future.result(60)


def _check(one: ingest_host.Running, client: int, sender: Sender, folder: Path) -> dict[str, int]:
    """Send bodies with ids of their own, and look for each acknowledged event in the topic. It also warms up."""
    told = folder / f"{one.service.name}.acknowledged"
    plan = sender.plan(CHECK, one.service, CHECK_S, more=("-fresh-ids", f"-client={client}", f"-acknowledged={told}"))
    sender.measure(one, plan)
    found = ingest_recount.recount(one.place.brokers, one.place.topic, [(told, client)], CHECK.events_per_body)
    console.print(f"{one.service.name}: {found}", highlight=False, soft_wrap=True)
    return found


def _rows(
    running: Mapping[str, ingest_host.Running], sender: Sender, turns: int, seconds: float
) -> list[dict[str, Any]]:
    services = [one.service for one in running.values()]
    chosen = cases(services)
    by_row: dict[tuple[Case, str], list[dict[str, Any]]] = defaultdict(list)
    for _, case, service in schedule(services, chosen, turns):
        measured = sender.measure(running[service.name], sender.plan(case, service, seconds))
        by_row[case, service.name].append(measured)
        console.print(_line(case, service, measured), highlight=False, soft_wrap=True)
    return [
        {
            "service": name,
            **case.described(),
            **ingest_figures.row(measured),
            "guarantees_less": bool(running[name].service.guarantees_less),
            "by_turn": measured,
        }
        for (case, name), measured in by_row.items()
    ]


def _at_half_rate(
    running: Mapping[str, ingest_host.Running], sender: Sender, rows: Sequence[Any], turns: int, seconds: float
) -> list[dict[str, Any]]:
    """Single events in the open loop, at half of what each service took in the closed loop."""
    by_service: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rates = {}
    for name in running:
        best = ingest_figures.found(rows, service=name, **SINGLE.described())
        if best is not None and best["requests_per_s"]:
            rates[name] = best["requests_per_s"] / 2
    for _ in range(turns):
        for name, rate in rates.items():
            plan = sender.plan(SINGLE, running[name].service, seconds, rate=rate)
            by_service[name].append(sender.measure(running[name], plan))
    return [
        {"service": name, "rate": rates[name], **ingest_figures.row(measured), "by_turn": measured}
        for name, measured in by_service.items()
    ]


def _line(case: Case, service: Service, measured: Mapping[str, Any]) -> str:
    return (
        f"{case.file} {service.name}: {measured['events_per_s']:,} events/s, {measured['cpu_us_per_event']} CPU µs an "
        f"event, {measured['cores']} cores, p50 {measured['p50_ms']} ms, p99 {measured['p99_ms']} ms, load "
        f"{measured['load']['cpu_share']:.2f} cores"
    )


if __name__ == "__main__":
    typer.run(main)
