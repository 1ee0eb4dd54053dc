"""Senders with the Python client, while everything between them and Kafka fails: what they sent is counted once.

Kafka is killed and away, for VIEW_COUNTS_TEST_OVERFLOW_AWAY_S seconds, and Redis is away from then on. Processes of
ingest, the balancer, a sender and drainers are killed meanwhile. The senders' own notes say what was sent, and a
recount that shares no code with the product says what was counted.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from uuid import UUID

import pytest

from schemas.jobs import COUNT
from settings import CountingSettings, KafkaSettings, Settings
from settings.durations import MINUTE_MS
from tests.chaos.killed_drainer import STEPS
from tests.chaos.sending import OLD, VIDEOS
from tests.support.drainers import drainer
from tests.support.installation import PROMPT
from tests.support.overflow_beside_answers import Looking, held_back, too_complete
from tests.support.waiting import eventually
from tools.exact.checks import recount_topic, settled
from tools.exact.drained import overflow_of
from tools.recount import (
    Answers,
    Recount,
    Report,
    Store,
    compare_cells,
    compare_hours,
    compare_ledger,
    compare_rejected,
    end_offsets,
    read_topic,
)
from tools.recount.avro import read, read_datum
from tools.recount.topic import read_rejected
from tools.stack import Stack, StackOptions
from tools.stack.layout import repository
from tools.stack.machine.ports import HOST
from udfs.logic.overflow.object_name import ObjectName

AWAY_S = float(os.environ.get("VIEW_COUNTS_TEST_OVERFLOW_AWAY_S", "60"))
PARTS = (
    *("zookeeper", "kafka", "cassandra", "seaweedfs", "redis", "jobmanager", "taskmanager"),
    *("ingest", "ingest_2", "query", "haproxy", "drain"),
)
# With the shortest lateness, the stream would say that a minute is complete while its events still lie in overflow.
COUNTING = {
    "lateness_ms": MINUTE_MS,
    "generation_ms": 3 * MINUTE_MS,
    **PROMPT,
}
QUICK = {
    "VIEW_COUNTS_OVERFLOW_WAIT_MS": "1000",
    "VIEW_COUNTS_OVERFLOW_LIST_S": "0.5",
    "VIEW_COUNTS_INGEST_DELIVERY_TIMEOUT_MS": "5000",
    # The broker has one clock.
    "VIEW_COUNTS_DRAIN_SKEW_MS": "0",
}
BACK_S = 240.0
# Ingest stores two objects a second while Kafka is away, and without Redis both drainers drain each of them.
DRAINED_S = BACK_S + 3 * AWAY_S
# Longer than an object gathers events.
QUIET_S = 3.0
# How many views are noted before the next thing happens.
SOME = 200


class Sender:
    """A process of tests.chaos.sending, and its notes."""

    def __init__(self, how: str, url: str, spool: Path, notes: Path) -> None:
        self._notes = notes
        arguments = (how, url, str(spool), str(notes))
        paths = os.pathsep.join(str(path) for path in (repository() / "clients" / "python", repository()))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.sending", *arguments],
            cwd=repository(),
            env={**os.environ, "PYTHONPATH": paths},
        )

    def noted(self, what: str) -> list[str]:
        """Of whom this was noted, in this order."""
        if not self._notes.exists():
            return []
        # The last line may be written now.
        lines = self._notes.read_text(encoding="utf-8").split("\n")[:-1]
        return [line.split(" ", 1)[1] for line in lines if line.startswith(f"{what} ")]

    def view_more(self) -> None:
        """Wait until it has viewed some more."""
        before = len(self.noted("viewed"))
        assert eventually(lambda: len(self.noted("viewed")) >= before + SOME, BACK_S)
        assert self.process.poll() is None

    def end(self) -> dict[str, int]:
        """Let it send all, and end. Returns what it says of itself."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> dict[str, int]:
        """Wait until it has ended. Returns what it says of itself."""
        assert self.process.wait(BACK_S) == 0
        (told,) = self.noted("ended")
        counts: dict[str, int] = json.loads(told)
        assert counts["remaining"] == 0
        return counts


class Senders:
    """All senders of a test. What runs at the end is killed."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self.all: list[Sender] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.all:
            one.process.kill()
            one.process.wait()

    def start(self, how: str = "on") -> Sender:
        """Start one. All have the same spool."""
        made = Sender(how, self._url, self._folder / "spool", self._folder / f"notes-{len(self.all)}")
        self.all.append(made)
        return made

    def noted(self, what: str) -> set[UUID]:
        """Of which views somebody has noted this."""
        return {UUID(whom) for one in self.all for whom in one.noted(what)}


class Overflow:
    """The objects of overflow of a stack."""

    def __init__(self, stack: Stack) -> None:
        self.objects = overflow_of(stack)

    def events(self) -> int:
        """How many events there are."""
        return sum(name.events for name in self.objects.names())

    def wait_more(self) -> None:
        """Wait until ingest has stored some more."""
        before = self.events()
        assert eventually(lambda: self.events() > before, BACK_S)

    def wait_quiet(self) -> None:
        """Wait until what ingest has taken is stored."""
        before = -1
        while before != (before := self.events()):
            time.sleep(QUIET_S)

    def is_empty(self) -> bool:
        """Whether all is drained and counted."""
        return not self.objects.names()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    counting = {f"VIEW_COUNTS_COUNTING_{name}".upper(): str(value) for name, value in COUNTING.items()}
    options = StackOptions(
        home=tmp_path / "stack",
        ports="free",
        parts=PARTS,
        flink_overrides={"execution.checkpointing.interval": "1s", "execution.checkpointing.min-pause": "200ms"},
        environment={**counting, **QUICK},
        graceful_stop=False,
    )
    with Stack(options) as running:
        # Drainers are the test's own at first.
        running.stop_part("drain")
        yield running


def closed_ms(store: Store) -> int | None:
    """The end of the last minute that the stream has closed."""
    closed = store.closed_through_ms()
    return min(closed.values()) if closed else None


def reload_balancer(stack: Stack) -> None:
    """Let a new process of the balancer take the place of the old one."""
    before = stack.logs("haproxy").count("Loading success")
    stack.kill("haproxy", signal.SIGUSR2)
    assert eventually(lambda: stack.logs("haproxy").count("Loading success") > before, 20, 0.05)


def while_kafka_is_away(stack: Stack, senders: Senders, overflow: Overflow) -> set[UUID]:
    """Harm all that is between senders and overflow. Returns the ids of the views of long ago."""
    first, second = senders.all
    overflow.wait_more()
    # These events lie in objects of their own, because nobody else sends meanwhile.
    for one in (first, second):
        one.process.send_signal(signal.SIGSTOP)
    overflow.wait_quiet()
    old = senders.start("old")
    assert old.wait()["expired"] == OLD
    overflow.wait_quiet()
    for one in (first, second):
        one.process.send_signal(signal.SIGCONT)
    overflow.wait_more()
    stack.kill("ingest")
    second.view_more()
    stack.wait_ready("ingest", timeout_s=BACK_S)
    reload_balancer(stack)
    overflow.wait_more()
    # Nothing that the first one views now leaves its spool before it is killed.
    stack.stop_part("haproxy")
    first.view_more()
    first.process.kill()
    first.process.wait()
    senders.start().view_more()
    stack.start_part("haproxy")
    overflow.wait_more()
    return {UUID(one) for one in old.noted("viewed")}


def kill_drainers(stack: Stack) -> None:
    """Start a drainer for each step, at which it kills itself."""
    for step in STEPS:
        command = [sys.executable, "-m", "tests.chaos.killed_drainer", step]
        environment = {
            **os.environ,
            **stack.environment(),
            "VIEW_COUNTS_DRAIN_PRIVATE_PORT": str(stack.ports["drain_private"]),
        }
        ended = subprocess.run(command, cwd=repository(), env=environment, timeout=BACK_S, check=False)
        assert ended.returncode == -signal.SIGKILL, step


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_what_clients_send_is_counted_once_whatever_fails_on_the_way(stack: Stack, tmp_path: Path) -> None:
    overflow = Overflow(stack)
    stack.flink_run(["-py", COUNT.file])
    videos = [f"video-{number}" for number in range(VIDEOS)]
    with ExitStack() as running:
        store = running.enter_context(Store(HOST, stack.ports["cassandra"]))
        assert eventually(lambda: store.records() > 0, BACK_S)
        senders = running.enter_context(Senders(stack.endpoints["ingest"], tmp_path))
        for _ in range(2):
            senders.start().view_more()
        looking = running.enter_context(
            Looking(overflow.objects, stack.endpoints["query"], videos, lambda: closed_ms(store))
        )
        for part in ("redis", "kafka"):
            stack.kill(part)
            stack.stop_part(part)
        away_from = len(looking.looks)
        old = while_kafka_is_away(stack, senders, overflow)
        time.sleep(AWAY_S)
        stack.start_part("kafka")
        senders.all[-1].view_more()
        stack.kill("haproxy")
        stack.wait_ready("haproxy", timeout_s=BACK_S)
        stack.kill("ingest_2")
        stack.wait_ready("ingest_2", timeout_s=BACK_S)
        kill_drainers(stack)
        stack.start_part("drain")
        with drainer(stack.environment()):
            stack.kill("drain")
            stack.wait_ready("drain", timeout_s=BACK_S)
            assert eventually(overflow.is_empty, DRAINED_S)
        told = [one.end() for one in senders.all if one.process.poll() is None]
        assert sum(one["expired"] for one in told) == 0
        assert eventually(overflow.is_empty, DRAINED_S)
    assert len(looking.looks) > away_from
    compare(stack, senders, old, overflow, looking)


def compare(stack: Stack, senders: Senders, old: set[UUID], overflow: Overflow, looking: Looking) -> None:
    """Compare what was sent with the topic, the tables, the ledger, the accounts of overflow and the answers."""
    for part in ("ingest", "ingest_2", "drain"):
        stack.stop_part(part)
    settings = Settings(
        counting=CountingSettings(**COUNTING),
        kafka=KafkaSettings(bootstrap_servers=stack.endpoints["kafka"]),
    )
    recount = recount_topic(settings.kafka.bootstrap_servers, settings)
    too_old = too_old_ids(settings)
    compare_notes(senders, old, recount, viewers(settings), too_old)
    compare_accounts(overflow, looking, recount, too_old)
    compare_looks(looking, recount)
    with Store(HOST, stack.ports["cassandra"]) as store:
        records = sum(end_offsets(settings.kafka.bootstrap_servers, settings.kafka.events_topic).values())
        assert eventually(lambda: store.records() == records, BACK_S)
        report = settled(lambda: against_tables(store, settings, recount))
    with Answers(stack.endpoints["query"]) as answers:
        report.add("hours over HTTP", *compare_hours(answers, dict(recount.cells), top=VIDEOS, sampled=1))
    assert [str(finding) for finding in report.findings[:10]] == []
    assert min(report.compared.values()) > 0, report.compared


def against_tables(store: Store, settings: Settings, recount: Recount) -> Report:
    """Compare the tables and the late events with the recount."""
    report, kafka = Report(), settings.kafka
    cells, ledger = store.cells(), store.ledger()
    report.add("minutes", len(cells), compare_cells(recount.cells, cells))
    report.add("ledger", len(ledger), compare_ledger(recount.ledger, ledger))
    rejected = read_rejected(kafka.bootstrap_servers, kafka.late_topic, kafka.events_topic)
    report.add("late events", len(rejected), compare_rejected("late events", recount.late, rejected))
    return report


def ids_of(packed: bytes) -> list[UUID]:
    """Ids of 16 bytes each."""
    return [UUID(bytes=bytes(packed[at : at + 16])) for at in range(0, len(packed), 16)]


def viewers(settings: Settings) -> dict[UUID, UUID]:
    """The view, by the ids of all events in the topic. Half of the events have another id than their view."""
    found = {}
    for *_, value in read_topic(settings.kafka.bootstrap_servers, settings.kafka.events_topic):
        for event in read("ViewBatch", value or b"")["events"]:
            found[UUID(bytes=event["event_id"])] = UUID(event["viewer_id"].decode())
    return found


def too_old_ids(settings: Settings) -> set[UUID]:
    """The ids in the dead letters, all of which are there because they lay in overflow for too long."""
    found = set()
    for *_, value in read_topic(settings.kafka.bootstrap_servers, settings.kafka.dead_letter_topic):
        for event in read("RejectedEvents", value or b"")["events"]:
            assert event["reason"] == b"too_old"
            letter = read_datum("ViewEvent", event["payload"])
            assert letter["viewer_id"] is None
            found.add(UUID(bytes=letter["event_id"]))
    return found


def compare_notes(
    senders: Senders, old: set[UUID], recount: Recount, view_of: dict[UUID, UUID], too_old: set[UUID]
) -> None:
    """Each view that was sent has one fate, and was counted once if that is its fate."""
    counted = Counter(view_of[one] for one in ids_of(bytes(recount.counted_ids)))
    assert max(counted.values()) == 1, [view for view, times in counted.items() if times > 1][:5]
    late = {view_of[UUID(bytes=event["event_id"])] for event in recount.late.values()} - counted.keys()
    began, viewed, expired = (senders.noted(what) for what in ("began", "viewed", "expired"))
    assert not senders.noted("refused")
    fates: dict[str, set[UUID]] = {"counted": set(counted), "late": late, "too old": too_old, "expired": expired}
    fated = began.union(*fates.values())
    found = {view: [name for name, views in fates.items() if view in views] for view in fated}
    # The sender that was killed did not know of its last view whether that was taken.
    wrong = {view: what for view, what in found.items() if len(what) != 1 and view in viewed}
    assert not wrong, f"{len(wrong)} of {len(viewed)}: {list(wrong.items())[:5]}"
    assert len(began - viewed) <= 1
    assert found.keys() == began
    sums = {name: len(views & viewed) for name, views in fates.items()}
    print(f"sent {len(viewed)}: {sums}")
    assert sum(sums.values()) == len(viewed)
    assert {name: len(views & old) for name, views in fates.items()} == {
        "counted": 0, "late": OLD, "too old": OLD, "expired": OLD,
    }  # fmt: skip
    assert sums["counted"] > 0


def compare_accounts(overflow: Overflow, looking: Looking, recount: Recount, too_old: set[UUID]) -> None:
    """What lay in overflow is in the topic or too old, and the accounts say so."""
    stored = [UUID(bytes=one) for events in looking.viewed.values() for one, _ in events]
    assert stored
    assert {one.bytes for one in set(stored) - too_old} <= recount.received_ids
    names: Sequence[ObjectName] = overflow.objects.accounts()
    assert {name.text for name in names} == looking.viewed.keys()
    accounts = [overflow.objects.account(name) for name in names]
    sums = Counter[str]()
    for account in accounts:
        assert account is not None
        sums.update({"events": account.events, "too old": account.too_old, "refused": account.refused})
    assert sums == Counter({"events": len(stored) - OLD, "too old": OLD})


def compare_looks(looking: Looking, recount: Recount) -> None:
    """No answer said that it was complete while events of its time lay in overflow, and what it said then was right."""
    assert too_complete(looking) == []
    # Without overflow, these would have said that they are complete.
    held = held_back(looking)
    wrong = []
    compared = 0
    for look in looking.looks:
        for start_ms, views in look.points:
            if start_ms + MINUTE_MS <= (look.complete or 0) or start_ms in look.complete_minutes:
                compared += 1
                if views != recount.cells[look.video, "view", start_ms // MINUTE_MS]:
                    wrong.append((look.video, start_ms, views))
    print(f"{len(looking.looks)} looks, {len(held)} held back, {compared} minutes; failed: {looking.failed[:9]}")
    assert not wrong, wrong[:5]
    assert held
    assert compared > 0
