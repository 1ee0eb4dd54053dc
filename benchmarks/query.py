"""`make bench-query`: how fast the query service answers, beside the service of an earlier commit and one in FastAPI.

All read the same real Cassandra and object store on this machine alone, which this program seeds first, and are asked
by a Go program in turns of some seconds. Nothing is counted meanwhile: the table `progress` goes on, as it does with an
idle job. With --beside-job the count job counts instead. benchmarks.inputs.seeded_counts says what is seeded,
benchmarks.comparing.query_turns what is asked, and benchmarks.contenders.query_services what the plain service
guarantees less.
"""

import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.comparing import query_beside, query_check, query_host, query_seeding, service_host
from benchmarks.comparing.query_turns import CASES, WARM_UP_S, Case, schedule
from benchmarks.contenders import query_services
from benchmarks.contenders.query_services import FASTAPI, OURS, Service
from benchmarks.inputs import bodies
from benchmarks.inputs.query_requests import Questions
from benchmarks.inputs.seeded_counts import Shape, shape_at
from benchmarks.measuring import go_programs, query_figures, results
from benchmarks.measuring.machine import commit, describe
from tools.stack import Stack, StackOptions
from tools.stack.layout import repository

PARTS = ("cassandra", "seaweedfs", "redis")
COUNTING_PARTS = ("zookeeper", "kafka", "jobmanager", "taskmanager", "ingest")
BASELINE = "e708efb"
SEED = 24
# There are cold questions for so much; 30 days of hours are the scarcest.
TURNS_MAX, SECONDS_MAX = 4, 6.0
QUICK_S = 1.0
# A table or a batch takes so long to write that two processes keep Cassandra busy.
SEED_PROCESSES = 2

# Without a terminal, as in a log, the table would be 80 columns wide.
console = Console() if sys.stdout.isatty() else Console(width=170)


def main(
    *,
    quick: Annotated[
        bool,
        typer.Option(help="A small part of the counts, one short turn of each: a smoke test without valid figures."),
    ] = False,
    baseline: Annotated[
        str, typer.Option(help="The commit whose query service takes part too; an empty text leaves it out.")
    ] = BASELINE,
    fastapi: Annotated[bool, typer.Option(help="Let the FastAPI service take part.")] = True,
    only: Annotated[str, typer.Option(help="Kinds of questions, separated by commas; all by default.")] = "",
    beside_job: Annotated[
        bool, typer.Option(help="Let the count job count 2,000 events a second meanwhile; few cores bear both.")
    ] = False,
    turns: Annotated[
        int, typer.Option(help="How often the list of measurements is repeated.", min=1, max=TURNS_MAX)
    ] = 3,
    seconds: Annotated[float, typer.Option(help="How long each measurement lasts.", min=0.5, max=SECONDS_MAX)] = 5.0,
    pin: Annotated[bool, typer.Option(help="Give the measured service the first core for itself.")] = True,
    keep: Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")] = True,
) -> None:
    """Seed, measure, and print the verdicts. The exit code is 1 if a service answers another number than was seeded."""
    # Without this, SIGTERM would leave the checkout of the baseline in the repository, and the folder of the stores.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cases = _chosen(only)
    if quick:
        turns, seconds = 1, min(seconds, QUICK_S)
    own, others = service_host.shares(os.sched_getaffinity(0), is_pinned=pin)
    result: dict[str, Any] = {
        "benchmark": "query",
        "quick": quick,
        "machine": {**describe(), "go": go_programs.go_version()},
        "is_pinned": bool(own),
        "turns": turns,
        "seconds": seconds,
    }
    tool = go_programs.build("load")
    with tempfile.TemporaryDirectory(prefix="view-counts-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        services = [OURS]
        if baseline:
            before = stack.enter_context(query_host.checkout(baseline, folder / "before"))
            services.append(query_services.before(before, baseline))
        services += [FASTAPI] if fastapi else []
        result["services"] = [_described(service) for service in services]
        stores = stack.enter_context(Stack(_options(folder / "stack", beside_job=beside_job)))
        host = stack.enter_context(query_host.Host(stores, own, folder))
        # Seeding takes all cores.
        shape, last_minute = _seed(host, result, is_quick=quick)
        stack.enter_context(service_host.cores(others))
        host.pin_stores(others)
        if beside_job:
            result["beside_job"] = {"events_per_s": query_beside.RATE}
            stack.enter_context(query_beside.counting(stores, host.settings, result["beside_job"]))
        else:
            stack.enter_context(query_beside.idle(host.settings))
        for service in services:
            host.start(service)
        batches = {service.name: query_check.has_batches(host.url(service)) for service in services}
        result["checks"] = {
            service.name: query_check.check(
                host.url(service),
                shape,
                last_minute,
                has_history=service.has_history,
                has_batches=batches[service.name],
            )
            for service in services
        }
        console.print(f"numbers that agree with what was seeded: {result['checks']}", highlight=False)
        result["rows"] = _rows(host, services, cases, _questions(shape, services), batches, tool, turns, seconds)
    targets = {case.name: case.targets() for case in cases}
    result["verdicts"] = query_figures.verdicts(result["rows"], targets, OURS.name)
    console.print(query_figures.table(result["rows"]))
    for verdict in result["verdicts"]:
        console.print(query_figures.verdict_line(verdict), highlight=False, soft_wrap=True)
    named = f"query{'-beside-job' if beside_job else ''}{'-quick' if quick else ''}"
    results.publish(named, result, is_kept=keep)


def _options(home: Path, *, beside_job: bool) -> StackOptions:
    parts = (*PARTS, *COUNTING_PARTS) if beside_job else PARTS
    return StackOptions(home, "free", parts, graceful_stop=False)


def _chosen(only: str) -> Sequence[Case]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = {case.name: case for case in CASES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise typer.BadParameter(f"only={only}: there are no questions {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in names] or CASES


def _described(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "title": service.title,
        "guarantees_less": service.guarantees_less,
        "commit": commit(service.folder or repository()),
    }


def _seed(host: query_host.Host, result: dict[str, Any], *, is_quick: bool) -> tuple[Shape, int]:
    """Seed the stores. Returns what, and the minute since 1970 before which all minutes are there."""
    now, began_s = datetime.now(UTC), time.monotonic()
    shape, last_minute = shape_at(now, is_quick=is_quick), int(now.timestamp()) // 60
    console.print(f"seeding {shape}", highlight=False, soft_wrap=True)
    told = query_seeding.seed_tables(shape, host.settings, last_minute, SEED_PROCESSES)
    told["cassandra_cpu_s"] = round(host.cassandra_cpu_s(), 1)
    query_seeding.seed_history(shape, host.settings, now)
    result["seeded"] = {**told, "seconds": round(time.monotonic() - began_s, 1)}
    console.print(f"seeded: {result['seeded']}", highlight=False, soft_wrap=True)
    return shape, last_minute


def _questions(shape: Shape, services: Sequence[Service]) -> Mapping[str, Questions]:
    return {service.name: Questions(shape, SEED + place) for place, service in enumerate(services)}


def _rows(
    host: query_host.Host,
    services: Sequence[Service],
    cases: Sequence[Case],
    questions: Mapping[str, Questions],
    batches: Mapping[str, bool],
    tool: Path,
    turns: int,
    seconds: float,
) -> list[dict[str, Any]]:
    by_row: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    left_out: dict[tuple[str, str], str] = {}
    for _, case, service in schedule(services, cases, turns):
        if case.is_batch and not batches[service.name]:
            left_out[case.name, service.name] = "left out: the service has no such route"
            continue
        measured = _measure(host, service, case, questions[service.name], tool, seconds)
        by_row[case.name, service.name].append(measured)
        console.print(_line(case, service, measured), highlight=False, soft_wrap=True)
    return [
        {
            "service": service.name,
            **case.described(),
            **query_figures.row(by_row[case.name, service.name]),
            "left_out": left_out.get((case.name, service.name)),
            "by_turn": by_row[case.name, service.name],
        }
        for case in cases
        for service in services
        if service.has_history or not case.needs_history
    ]


def _measure(
    host: query_host.Host, service: Service, case: Case, questions: Questions, tool: Path, seconds: float
) -> dict[str, Any]:
    lasts_s = case.seconds(seconds)
    made = host.folder / "questions"
    if case.is_restarted:
        bodies.write(made, case.questions(questions, case.number(lasts_s)))
        host.stop(service)
        host.start(service)
    elif case.is_warmed:
        bodies.write(made, case.questions(questions, case.number(WARM_UP_S)))
        host.load(service, tool, case, made, WARM_UP_S)
        bodies.write(made, case.questions(questions, case.number(lasts_s)))
    else:
        bodies.write(made, case.questions(questions, case.number(lasts_s)))
    before, cassandra_before = host.cpu_s(service), host.cassandra_cpu_s()
    told = host.load(service, tool, case, made, lasts_s)
    return query_figures.turn(told, host.cpu_s(service) - before, host.cassandra_cpu_s() - cassandra_before)


def _line(case: Case, service: Service, measured: Mapping[str, Any]) -> str:
    return (
        f"{case.name} {service.name}: {measured['answers_per_s']:,} answers/s, {measured['cpu_us']} CPU µs, "
        f"{measured['cores']} cores and {measured['cassandra_cores']} of Cassandra, p50 {measured['p50_ms']} ms, "
        f"p99 {measured['p99_ms']} ms, {measured['load']['statuses']}, load {measured['load']['cpu_share']:.2f} cores"
    )


if __name__ == "__main__":
    typer.run(main)
