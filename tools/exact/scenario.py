"""One run in a stack of its own: the load and the kills at the same time, and then all comparisons."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from connectors.installation import accept
from connectors.kafka_admin import alter_topics
from schemas.jobs import COUNT
from settings import Settings
from tools.exact.checks import answers_against, fates_of, recount_topic, sender_against_recount, settled, store_against
from tools.exact.drained import wait_drained
from tools.exact.harm import PARTS, PYTHON_WORKER, Harm, Kill
from tools.exact.loads import HttpLoad, Load, createtime_load, http_traffic
from tools.exact.turns import AbortedError, Turns
from tools.load import KafkaSender
from tools.load.traffic import MINUTE_MS
from tools.recount import Report, Store
from tools.stack import PARTS_WITHOUT_BALANCER, Stack, StackOptions
from tools.stack.machine.ports import HOST

INGEST = ("ingest", "ingest_2")
BALANCER = "haproxy"
FIRST_RECORDS_S = 300.0
CATCH_UP_S = 600.0


@dataclass(frozen=True)
class Scenario:
    """What to run. `kills` are names from tools.exact.harm.PARTS, killed in this order."""

    mode: Literal["http", "createtime"]
    home: Path
    events: int = 2_000_000
    events_per_second: float = 10_000.0
    videos: int = 4000
    span_minutes: int = 200
    seed: int = 1
    kills: tuple[str, ...] = PARTS

    def __post_init__(self) -> None:
        unknown = sorted(set(self.kills) - set(PARTS))
        if unknown:
            raise ValueError(f"kills={','.join(unknown)}: there is no such part; the parts are {', '.join(PARTS)}")


@dataclass
class Result:
    """The result of a run. `fates` are the sums of the ledger, by column.

    `seconds` has the time since the start at which each step was done.
    """

    mode: str
    report: Report = field(default_factory=Report)
    fates: dict[str, int] = field(default_factory=dict)
    kills: list[Kill] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    sender: dict[str, int] = field(default_factory=dict)

    @property
    def is_exact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.report.findings


def run(scenario: Scenario, say: Callable[[str], None] = lambda _line: None) -> Result:
    """Run a scenario in `scenario.home`. Its files stay, and all processes end. Raises if a part does not come back."""
    # In mode createtime there is no ingest service: it would write heartbeats with the wall clock's time.
    # Over HTTP, two of them share the load behind the balancer.
    is_http = scenario.mode == "http"
    parts = (
        (*PARTS_WITHOUT_BALANCER, *INGEST[1:], BALANCER)
        if is_http
        else tuple(part for part in PARTS_WITHOUT_BALANCER if part not in INGEST)
    )
    result = Result(scenario.mode)
    started_at = time.monotonic()

    def stamp(what: str) -> None:
        result.seconds[what] = round(time.monotonic() - started_at, 1)
        say(f"{what} after {result.seconds[what]:.0f} s")

    with Stack(StackOptions(home=scenario.home, ports="free", parts=parts, graceful_stop=False)) as stack:
        stamp("stack is up")
        settings = Settings()
        kafka = stack.endpoints["kafka"]
        topic = settings.kafka.events_topic
        if scenario.mode == "createtime":
            trust_timestamps(kafka, settings)
        sender = KafkaSender(kafka, topic, partitions=settings.kafka.partitions, salts=settings.counting.salts)
        load = _load(scenario, stack, sender, settings)
        job = stack.flink_run(["-py", COUNT.file])
        with Store(HOST, stack.ports["cassandra"]) as store:
            harm = Harm(stack, store, job, topic)
            harm.wait_counted("submission", FIRST_RECORDS_S)
            stamp("job runs")
            kills = tuple(part for part in scenario.kills if part in (*parts, PYTHON_WORKER))
            result.kills = load_and_harm(load, harm, kills, Turns(scenario.events, len(kills)), say)
            stamp("load is sent")
            if is_http:
                wait_drained(stack, CATCH_UP_S)
                stamp("overflow is drained")
                for part in INGEST:
                    stack.stop_part(part)
                # What ingest stored in its last seconds would be in no recount.
                wait_drained(stack, 0)
            harm.wait_counted("the end of the load", CATCH_UP_S)
            stamp("job has read to the end")
            recount = recount_topic(kafka, settings)
            stamp("topic is recounted")
            written = settled(lambda: store_against(load, recount, store, kafka, settings))
            result.fates = dict(fates_of(store.ledger()))
        for report in (
            written,
            sender_against_recount(load, recount),
            answers_against(load, recount, stack.endpoints["query"]),
        ):
            result.report.compared |= report.compared
            result.report.findings += report.findings
        stamp("everything is compared")
    result.sender = {"events": len(load.source.events), **load.bad_records}
    if isinstance(load, HttpLoad):
        result.sender |= vars(load.tally)
    return result


def trust_timestamps(bootstrap_servers: str, settings: Settings) -> None:
    """Let the empty events topic keep each record's own timestamp, and accept that difference for all processes."""
    topic, name, value = settings.kafka.events_topic, "message.timestamp.type", "CreateTime"
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": bootstrap_servers})
    alter_topics(kafka, [(topic, name, value)])
    accept(settings.model_copy(update={"kafka": kafka}), [f"{topic} {name}={value}"])


def _load(scenario: Scenario, stack: Stack, sender: KafkaSender, settings: Settings) -> Load:
    if scenario.mode == "http":
        return HttpLoad(
            stack.endpoints["ingest"],
            sender,
            events=scenario.events,
            events_per_second=scenario.events_per_second,
            traffic=http_traffic(scenario.seed, scenario.videos, settings.counting.salts),
        )
    return createtime_load(
        sender,
        settings.counting,
        events=scenario.events,
        events_per_second=scenario.events_per_second,
        videos=scenario.videos,
        span_ms=scenario.span_minutes * MINUTE_MS,
        seed=scenario.seed,
    )


def load_and_harm(
    load: Load, harm: Harm, kills: tuple[str, ...], turns: Turns, say: Callable[[str], None]
) -> list[Kill]:
    """Send the load while these parts are killed in turn. Returns the kills. Raises what either side raises."""
    failed: list[BaseException] = []

    def send() -> None:
        try:
            load.send(turns)
        except BaseException as error:
            failed.append(error)
            turns.abort()

    thread = threading.Thread(target=send, name="load", daemon=True)
    thread.start()
    try:
        done = harm.all(kills, turns, say)
    except AbortedError:
        thread.join()
        raise failed[0] from None
    except BaseException:
        turns.abort()
        thread.join(60)
        raise
    thread.join()
    if failed:
        raise failed[0]
    return done
