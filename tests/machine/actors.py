"""Which code of the product each job runs, with what stands in place of Flink, Kafka, Cassandra and clocks.

What changes with the product's jobs changes here: an actor is a function that does in one thread what its job does on a
cluster. Every patch is of a module's global, holds for the whole process, and asks whose thread it is.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec
import pyarrow as pa
from pyflink.common import Row

import jobs.audit
import jobs.rollup
from services.query import cold
from services.query import store as query_store
from services.query.cold import History, HistoryAwayError
from services.query.parameters import Series
from services.query.store import DAY, HOUR, CountStore
from settings import Settings
from settings.durations import HOUR_MS
from tests.machine.jobs import InPlace, Job, current_job, step
from tests.machine.tables import Session
from tests.machine.world import AUDITED_HOURS, HISTORY, START_MS, VIDEOS, VIEWERS, World, must
from tools import block_list
from tools.erasure import erase, erase_again
from udfs.logic.history import Manifest, PartitionTask, hour_start
from udfs.operators import audit as audit_operators
from udfs.operators import rollup as rollup_operators
from udfs.operators.audit import CompareShard, Question, ReadMinutes, WriteVerdicts
from udfs.operators.rollup import CountSlices, MergeShard, PublishManifest
from udfs.sinks import audit_rows, beside, history_rows, history_store, shard_tables
from udfs.sources import compacted
from udfs.sources.history import HistoryFiles

# What an actor does: the job whose thread it is in, and a number that may say what of it.
Actor = Callable[[World, Job, int], None]
FORMS = ("totals", "days", "hours")


def rollup(_world: World, _job: Job, _a: int) -> None:
    """jobs/rollup.py."""
    jobs.rollup.main()


def audit(_world: World, _job: Job, _a: int) -> None:
    """jobs/audit.py --repair."""
    jobs.audit.main()


def erasure(world: World, _job: Job, a: int) -> None:
    """`python -m tools.erasure`, of a viewer; who is being erased views on without a name."""
    viewer = VIEWERS[a % len(VIEWERS)]
    world.erased.add(viewer)
    erase(world.settings, _store(world), [viewer], world.now)


def erasure_again(world: World, _job: Job, _a: int) -> None:
    """`python -m tools.erasure --again`."""
    erase_again(world.settings, _store(world), world.now)


def query(world: World, _job: Job, a: int) -> None:
    """The query service is asked for all views of a video, by its total, by days or by hours.

    An answer lies between what was known when it was asked for and what is known when it is given; or it is refused.
    """
    answer(world, a, may_refuse=True)


def answer(world: World, a: int, *, may_refuse: bool) -> None:
    """The same; refused only if it may be."""
    video, form = VIDEOS[a % 3], FORMS[a // 3 % 3]
    asked_at, known, streamed = world.now, world.known(), world.streamed()
    least = world.least(known, streamed, video)
    try:
        found = asyncio.run(_asked(world, video, form))
    except HistoryAwayError as error:
        must(may_refuse, f"{form} of {video} are refused when all is quiet: {error}")
        return
    if world.planted or world.now - asked_at > timedelta(hours=1):
        # Falsified and not repaired yet; or a request that is over by its deadline.
        return
    # A rollup meanwhile may have found out that records are missing.
    least_now, most = world.least(world.known(), streamed, video), world.most(video)
    size = {"totals": 1 << 40, "days": 24, "hours": 1}[form]
    for place in sorted({hour // size for hour in {*least, *least_now, *most}} | set(found)):
        low, low_now, high = (
            sum(views for hour, views in of.items() if hour // size == place) for of in (least, least_now, most)
        )
        views, low = found.get(place, 0), min(low, low_now)
        at = "" if form == "totals" else f" of {hour_start(place * size):%Y-%m-%dT%H}"
        must(low <= views <= high, f"{form}: {video} has {views} views{at}, not {low} to {high}")


async def _asked(world: World, video: str, form: str) -> dict[int, int]:
    """Views by number of the hour or day, or 0."""
    history = History(HistoryFiles(_store(world), HISTORY), files_max=1000)
    store = _Asked(world.settings.cassandra, world.settings.query, history)
    store._connect_once()
    if form == "totals":
        (views,) = await store.totals(video, ["view"], today=world.now.date())
        return {0: views}
    step_ = DAY if form == "days" else HOUR
    first = hour_start(START_MS // HOUR_MS // 24 * 24)
    end = first + DAY * ((world.now - first) // DAY + 1)
    rows = await store.series(video, "view", Series(step_, first, end), now=world.now)
    return {int(start.timestamp()) // int(step_.total_seconds()): views for start, views in rows if views}


class _Asked(CountStore):
    """Reads at once. Each is a step."""

    async def _rows(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        found: list[Any] = self._session.execute(self._statements[statement], values)
        return found


ACTORS: dict[str, Actor] = {
    "rollup": rollup,
    "audit": audit,
    "erasure": erasure,
    "erasure_again": erasure_again,
    "query": query,
}


@contextmanager
def installed(world: World) -> Iterator[None]:
    """In place of what the product's jobs reach: this world. One at a time."""
    clock = SimpleNamespace(time=world.now_s, time_ns=lambda: world.now_ms * 1_000_000, monotonic=world.now_s)
    tables, session = world.tables, Session(world.tables)
    session.cluster = SimpleNamespace(shutdown=lambda: None)  # type: ignore[attr-defined]
    in_place: list[tuple[Any, str, Any]] = [
        # What jobs are submitted by, and what runs them.
        (jobs.rollup, "settings_or_exit", lambda: world.settings),
        (jobs.rollup, "filesystem", lambda *_: world.store),
        (jobs.rollup, "batch_environment", _Environment),
        (jobs.rollup, "build", _build_rollup(world)),
        (jobs.audit, "settings_or_exit", lambda: world.settings),
        (jobs.audit, "filesystem", lambda *_: world.store),
        (jobs.audit, "batch_environment", _Environment),
        (jobs.audit, "build", _build_audit),
        (jobs.audit, "connect", lambda *_: session),
        (jobs.audit, "time", clock),
        (sys, "argv", ["audit", "--repair", "--hours", str(AUDITED_HOURS)]),
        # Stores.
        (rollup_operators, "filesystem", lambda *_: world.store),
        (audit_operators, "filesystem", lambda *_: world.store),
        (audit_operators, "connect_however_long", lambda *_: session),
        (history_rows, "connect_however_long", lambda *_: session),
        (history_rows, "prepare_however_long", lambda _session, text: session.prepare(text)),
        (history_rows, "write_all", tables.write_all),
        (audit_rows, "prepare_however_long", lambda _session, text: session.prepare(text)),
        (audit_rows, "write_all", tables.write_all),
        (query_store, "connect", lambda *_: session),
        (compacted, "read_to_end", world.read_topic),
        (block_list, "read_to_end", world.read_topic),
        (block_list, "write", world.write_topic),
        # Settings of a worker's environment, which take milliseconds to read.
        (rollup_operators, "Settings", lambda: world.settings),
        (audit_operators, "Settings", lambda: world.settings),
        # Of files this small a codec takes as long as all the rest.
        (history_store, "COMPRESSION", "none"),
        # Clocks.
        (rollup_operators, "time", clock),
        (audit_rows, "time", clock),
        (cold, "time", clock),
        (block_list, "time", clock),
        # Threads.
        (beside, "ThreadPoolExecutor", InPlace),
        (shard_tables, "ThreadPoolExecutor", InPlace),
        (cold, "ThreadPoolExecutor", InPlace),
    ]
    with ExitStack() as stack:
        for module, name, stand_in in in_place:
            stack.enter_context(mock.patch.object(module, name, stand_in))
        for module in (jobs.rollup, jobs.audit):
            stack.enter_context(mock.patch.object(module, "print", _say_nothing, create=True))
        stack.enter_context(mock.patch.object(rollup_operators, "published", _noted(world)))
        yield


def _say_nothing(*_text: object) -> None:
    """Stands for print."""


def _noted(world: World) -> Callable[..., Manifest]:
    """udfs.logic.history.published, of which the world learns which records the archive lacked."""
    made = rollup_operators.published

    def published(before: Manifest, plan: Any, results: Sequence[Any], *others: Any) -> Manifest:
        after = made(before, plan, results, *others)
        world.note_counted(before, results[0].new, after)
        return after

    return published


def _store(world: World) -> Any:
    return world.store


class _Environment:
    """Stands for Flink's: runs what was built, in the thread of the job, which can be tried again from there."""

    def __init__(self) -> None:
        self.work: Callable[[], None] = lambda: None

    def execute(self, _name: str) -> None:
        """Run it to its end."""
        job = current_job()
        if job is not None:
            job.restart = lambda _job: self.work()
        step("the job is submitted", writes=False)
        self.work()


def _build_rollup(_world: World) -> Callable[..., None]:
    def build(env: _Environment, settings: Settings, to_do: list[PartitionTask], before: Manifest) -> None:
        env.work = lambda: _run_rollup(settings, to_do, msgspec.json.encode(before))

    return build


def _run_rollup(settings: Settings, to_do: Sequence[PartitionTask], before: bytes) -> None:
    """The operators of jobs.rollup.build, one after the other."""
    # As Flink has them, which are not the shards' numbers.
    keys = [3 + 5 * shard for shard in range(settings.counting.shards)]
    told: dict[int, list[bytes]] = defaultdict(list)
    counting = CountSlices(settings, before, keys)
    counting.open(None)
    for task in to_do:
        for key, infos in counting.flat_map(msgspec.json.encode(task).decode()):
            told[key].append(infos)
    merging = MergeShard(settings, before, keys, len(to_do))
    merging.open(None)
    publishing = PublishManifest(settings, before)
    publishing.open(None)
    for key, values in told.items():
        of_shard = SimpleNamespace(get_current_key=lambda key=key: key)
        for value in values:
            for _, result in merging.process_element(value, of_shard):
                list(publishing.process_element(result, None))


def _build_audit(env: _Environment, settings: Settings, manifest: Manifest, question: Question) -> None:
    """The operators of jobs.audit.build: one range, which is all of the ring."""
    asked, history = msgspec.json.encode(question), msgspec.json.encode(manifest)

    def work() -> None:
        reading = ReadMinutes(settings.cassandra, manifest.shards, asked)
        comparing = CompareShard(settings.history.path, settings.cassandra, history, asked, 1)
        writing = WriteVerdicts(settings.cassandra, asked, manifest.shards)
        for operator in (reading, comparing, writing):
            operator.open(None)
        for shard, rows in reading.flat_map(Row(0, 0)):
            for _, verdicts in comparing.process_element(rows, SimpleNamespace(get_current_key=lambda of=shard: of)):
                list(writing.process_element(verdicts, None))

    env.work = work


def without_threads() -> None:
    """Arrow computes in the thread that asks it to: tables are small here, and so are threads' gains."""
    pa.set_cpu_count(1)
