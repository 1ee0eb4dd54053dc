"""Which code of the product each job runs, with what stands in place of Flink, Kafka, Cassandra and clocks.

What changes with the product's jobs changes here: an actor is a function that does in one thread what its job does on a
cluster. Every patch is of a module's global, holds for the whole process, and asks whose thread it is.
"""

import asyncio
import functools
import hashlib
import itertools
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from connectors import background as beside
from services.query.counts import cold
from services.query.counts import session as query_session
from services.query.counts.cold import History
from services.query.counts.completeness import DAY, HOUR, HistoryAwayError
from services.query.counts.known import Known
from services.query.counts.series import Series
from services.query.counts.session import ReadSession
from services.query.counts.store import CountStore
from settings import Settings
from settings.durations import HOUR_MS
from tests.machine.jobs import InPlace, Job, current_job, step
from tests.machine.store import Files
from tests.machine.tables import Session
from tests.machine.world import AUDITED_HOURS, ERASURES, HISTORY, START_MS, VIDEOS, VIEWERS, World, must
from tests.support.local_rollup import executing
from tools import block_list
from tools.erasure import Stores, erase, erase_again, erasing, publishing
from tools.history import importing, make_register, making, restore
from tools.history.importing import Importer
from udfs.logic.audit.sums import LEDGER
from udfs.logic.erasure import erasures as erasure_rules
from udfs.logic.history import imports, rollup_plan
from udfs.logic.history.manifest import Manifest, hour_start
from udfs.logic.slices.audience import viewer_hash
from udfs.operators import audit as audit_operators
from udfs.operators import rollup as rollup_operators
from udfs.operators.audit import TABLES, CompareRows, Question, ReadRows, WriteVerdicts
from udfs.operators.rollup import CountSlices, MergeShard, PublishManifest, WriteRows
from udfs.sinks import audit_rows, history_rows, optional_rows
from udfs.sources import compacted
from udfs.stages import rollup_end, shard_tables
from udfs.stages.rollup_start import Work
from udfs.stores import history_store, lease, replaced_file
from udfs.stores.erasure_list import ErasureList
from udfs.stores.history_reader import HistoryFiles
from udfs.stores.history_store import HistoryStore

# What an actor does: the job whose thread it is in, and a number that may say what of it.
Actor = Callable[[World, Job, int], None]
FORMS = ("totals", "days", "hours")


def rollup(_world: World, _job: Job, _a: int) -> None:
    """jobs/rollup.py."""
    jobs.rollup.main()


def audit(_world: World, _job: Job, _a: int) -> None:
    """jobs/audit.py --repair."""
    jobs.audit.main()


def erasure(world: World, job: Job, a: int) -> None:
    """`python -m tools.ops erase`, of a viewer; who is being erased views on without a name."""
    viewer = VIEWERS[a % len(VIEWERS)]
    world.erased.add(viewer)
    world.erasure_begins([viewer])
    erase(world.settings, _stores(world), [viewer], world.now)
    world.erasure_ended([viewer], job.token)


def erasure_again(world: World, job: Job, _a: int) -> None:
    """`python -m tools.ops erase --again`."""
    by_hash = {viewer_hash(viewer).hex(): viewer for viewer in VIEWERS}
    open_now = [by_hash[one.viewer] for one in ErasureList(_store(world), ERASURES).open()]
    world.erasure_begins(open_now)
    erase_again(world.settings, _stores(world), world.now)
    world.erasure_ended(open_now, job.token)


def imported(world: World, _job: Job, a: int) -> None:
    """`python -m tools.ops import --replace`, or `imports remove`, of one of two names."""
    importer = Importer(world.settings, history(world), world.registers, now_s=world.now_s, holder=_holder(world))
    name = ("i", "j")[a % 2]
    if a // 2 % 4 == 0:
        importer.remove(name)
        return
    world.numbers += 1
    day = hour_start(START_MS // HOUR_MS).date() - timedelta(days=1 + a // 8 % 2)
    rows = [
        {"video_id": video, "kind": "view", "day": day if a // 16 % 2 else None, "views": 1000 * world.numbers + place}
        for place, video in enumerate(VIDEOS)
        if a // 32 >> place & 1
    ]
    importer.add(name, imports.in_order(pa.Table.from_pylist(rows, imports.IMPORT)), replace=True, overlap=True)


def restored(world: World, _job: Job, _a: int) -> None:
    """`python -m tools.ops history restore`."""
    settings, row = world.settings, world.registers.row
    restore(world.registers, history(world), settings.history.path, settings.counting.shards, now_ms=world.now_ms)
    world.check_restored(world.published if row is None else row.all_kept)


def made(world: World, _job: Job, _a: int) -> None:
    """`python -m tools.ops history init`."""
    make_register(
        world.registers,
        history(world),
        world.settings.history.path,
        now_ms=world.now_ms,
        has_totals=lambda: any(world.tables.alive("view_totals")),
    )


def history(world: World) -> HistoryStore:
    """As tools have it."""
    return HistoryStore(_store(world), HISTORY)


def _stores(world: World) -> Stores:
    return Stores(_store(world), Files(world.store), world.registers, lambda _s: None, lambda _at, _topic: None)


def query(world: World, _job: Job, a: int) -> None:
    """The query service is asked for all views of a video, by its total, by days or by hours.

    An answer lies between what was known when it was asked for and what is known when it is given; or it is refused.
    """
    answer(world, a, may_refuse=True)


def answer(world: World, a: int, *, may_refuse: bool) -> None:
    """The same; refused only if it may be."""
    video, form = VIDEOS[a % 3], FORMS[a // 3 % 3]
    asked_at, known, streamed, losses = world.now, world.known(), world.streamed(), world.losses
    least = world.least(known, streamed, video)
    try:
        found = asyncio.run(_asked(world, video, form))
    except HistoryAwayError as error:
        must(may_refuse, f"{form} of {video} are refused when all is quiet: {error}")
        return
    if world.is_false or losses != world.losses or world.now - asked_at > timedelta(hours=1):
        # Falsified and not repaired yet; rows went back meanwhile; or a request that is over by its deadline.
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
    session = _Asked(world.settings.cassandra)
    session._connect_once()
    store = CountStore(session, world.settings.query, history)
    now = world.now
    known = Known(0.0, None, await store.complete_through(), await store.register(), ())
    if form == "totals":
        return {0: (await store.totals(video, ("view",), known, now=now)).views[0]}
    step_ = DAY if form == "days" else HOUR
    first = hour_start(START_MS // HOUR_MS // 24 * 24)
    end = first + DAY * ((now - first) // DAY + 1)
    rows = await store.series(video, "view", Series(step_, first, end), known.history, now=now)
    return {int(start.timestamp()) // int(step_.total_seconds()): views for start, views in rows if views}


class _Asked(ReadSession):
    """Reads at once. Each is a step."""

    async def rows(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        found: list[Any] = self._session.execute(self._statements[statement], values)
        return found


ACTORS: dict[str, Actor] = {
    "rollup": rollup,
    "audit": audit,
    "erasure": erasure,
    "erasure_again": erasure_again,
    "import": imported,
    "query": query,
    "restore": restored,
    "make": made,
}


@contextmanager
def installed(world: World) -> Iterator[None]:
    """In place of what the product's jobs reach: this world. One at a time."""
    clock = SimpleNamespace(
        time=world.now_s, time_ns=lambda: world.now_ms * 1_000_000, monotonic=world.now_s, sleep=lambda _s: None
    )
    names = itertools.count()
    # As random as they are in truth, and the same in each run.
    chance = SimpleNamespace(token_hex=lambda size: hashlib.sha256(b"%d" % next(names)).hexdigest()[: 2 * size])
    # Nobody is waited for: whoever takes the lease does so while the holder before goes on.
    holder = _holder(world)
    # Workers have no clock of their own.
    of_worker = functools.partial(lease.Lease, now_s=world.now_s)
    tables = world.tables

    def session(*_arguments: object) -> Session:
        return Session(tables, world.registers)

    in_place: list[tuple[Any, str, Any]] = [
        # What jobs are submitted by, and what runs them.
        (jobs.rollup, "settings_or_exit", lambda: world.settings),
        (jobs.rollup, "filesystem", lambda *_: world.store),
        (jobs.rollup, "batch_environment", _Environment),
        (jobs.rollup, "build", _build_rollup),
        (jobs.rollup, "execute_until", _execute_until),
        (jobs.rollup, "connect", session),
        (jobs.rollup, "topic_id", lambda *_: "topic"),
        (jobs.rollup, "CassandraRegisters", lambda _session: world.registers),
        (jobs.rollup, "LeaseHolder", lambda *arguments, say, **named: holder(*arguments, say=_say_nothing, **named)),
        (jobs.audit, "settings_or_exit", lambda: world.settings),
        (jobs.audit, "filesystem", lambda *_: world.store),
        (jobs.audit, "batch_environment", _Environment),
        (jobs.audit, "build", _build_audit),
        (jobs.audit, "execute_until", _execute_until),
        (jobs.audit, "connect", session),
        (jobs.audit, "time", clock),
        (jobs.audit, "CassandraRegisters", lambda _session: world.registers),
        (jobs.audit, "LeaseHolder", lambda *arguments, say, **named: holder(*arguments, say=_say_nothing, **named)),
        (sys, "argv", ["audit", "--repair", "--hours", str(AUDITED_HOURS)]),
        (erasing, "LeaseHolder", holder),
        # Stores.
        (jobs.rollup, "accepts_settings", lambda _description: False),
        (rollup_operators, "filesystem", lambda *_: world.store),
        # Kafka knows nothing of what the archive lacks.
        (rollup_operators, "without_empty", lambda _servers, _topic, _partition, gaps: list(gaps)),
        (rollup_end, "bucket", lambda _settings: (Files(world.store), list)),
        (rollup_operators, "registers", lambda _settings: world.registers),
        (rollup_operators, "Lease", of_worker),
        (audit_operators, "filesystem", lambda *_: world.store),
        (audit_operators, "connect_however_long", session),
        (audit_operators, "CassandraRegisters", lambda _session: world.registers),
        (audit_operators, "Lease", of_worker),
        (history_rows, "connect_however_long", session),
        (history_rows, "prepare_however_long", lambda one, text: one.prepare(text)),
        (history_rows, "write_all", tables.write_all),
        (optional_rows, "execute_concurrent", executing(tables.write_all)),
        (audit_rows, "prepare_however_long", lambda one, text: one.prepare(text)),
        (audit_rows, "write_all", tables.write_all),
        (query_session, "connect", session),
        (compacted, "read_to_end", world.read_topic),
        (block_list, "read_to_end", world.read_topic),
        (block_list, "write", world.write_topic),
        # Settings of a worker's environment, which take milliseconds to read.
        (rollup_operators, "Settings", lambda: world.settings),
        (audit_operators, "Settings", lambda: world.settings),
        # Of files this small a codec takes as long as all the rest.
        (history_store, "COMPRESSION", "none"),
        # Clocks, and chance.
        (rollup_operators, "time", clock),
        (rollup_end, "datetime", SimpleNamespace(now=lambda _zone: world.now)),
        (erasing, "time", clock),
        (block_list, "time", clock),
        *(
            (module, "secrets", chance)
            for module in (rollup_operators, lease, making, publishing, importing, erasure_rules, replaced_file)
        ),
        # Threads. A holder that goes on is one that lives.
        (lease, "threading", SimpleNamespace(Event=_Nothing, Thread=_Nothing)),
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
        made(world, None, 0)  # type: ignore[arg-type]
        yield


def _holder(world: World) -> functools.partial[lease.LeaseHolder]:
    return functools.partial(lease.LeaseHolder, now_s=world.now_s, silent_s=0.0, living_s=2.0, sleep=lambda _s: None)


def _say_nothing(*_text: object) -> None:
    """Stands for print."""


class _Nothing:
    """Stands for a thread that says that a holder lives, and for what ends it."""

    def __init__(self, **_named: object) -> None:
        pass

    def start(self) -> None:
        pass

    def set(self) -> None:
        pass

    def join(self) -> None:
        pass


def _noted(world: World) -> Callable[..., Manifest]:
    """udfs.logic.history.rollup_plan.published, of which the world learns which records the archive lacked."""
    make = rollup_plan.published

    def published(
        before: Manifest, before_name: str, plan: Any, results: Sequence[Any], *others: Any, **named: Any
    ) -> Manifest:
        after = make(before, before_name, plan, results, *others, **named)
        world.note_counted(before, [info for one in results[0].counted for info in one.new], after)
        return after

    return published


def _store(world: World) -> Any:
    return world.store


class _Environment:
    """Stands for Flink's: runs what was built, in the thread of the job, which can be tried again from there."""

    def __init__(self) -> None:
        self.work: Callable[[int], None] = lambda _again: None


def _execute_until(env: _Environment, _name: str, _deadline_ms: int) -> None:
    """Stands for jobs.submission's."""
    job = current_job()
    if job is not None:
        job.restart = env.work
    step("the job is submitted", writes=False)
    env.work(0)


def _build_rollup(env: _Environment, settings: Settings, work: Work) -> None:
    # What stages hand on, as Flink keeps it: an attempt may begin with any stage whose input is there.
    done: dict[int, Any] = {}
    env.work = lambda again: _run_rollup(settings, work, done, again)


def _run_rollup(settings: Settings, work: Work, done: dict[int, Any], again: int) -> None:
    """The operators of jobs.rollup.build, one after the other; from all those before again if `again` is even."""
    # As Flink has them, which are not the shards' numbers.
    keys = [3 + 5 * shard for shard in range(settings.counting.shards)]
    unit = msgspec.json.encode(work.unit)

    def count(_nothing: object) -> dict[int, list[bytes]]:
        told: dict[int, list[bytes]] = defaultdict(list)
        operator = _opened(CountSlices(settings, unit, keys))
        for task in work.tasks:
            for key, infos in operator.flat_map(msgspec.json.encode(task).decode()):
                told[key].append(infos)
        return told

    def merge(told: Mapping[int, Sequence[bytes]]) -> list[bytes]:
        operator = _opened(MergeShard(settings, unit, keys, len(work.tasks)))
        return [
            result
            for key, values in told.items()
            for value in values
            for _, result in operator.process_element(value, _of_key(key))
        ]

    def publish(results: Sequence[bytes]) -> list[tuple[int, bytes]]:
        operator = _opened(PublishManifest(settings, unit, keys))
        return [(key, name) for value in results for key, name in operator.process_element(value, None)]

    def write(names: Sequence[tuple[int, bytes]]) -> list[int]:
        operator = _opened(WriteRows(settings, unit, keys))
        return [shard for key, value in names for shard in operator.process_element(value, _of_key(key))]

    stages: list[Callable[[Any], Any]] = [count, merge, publish, write]
    first = max(done, default=-1) + 1 if again % 2 else 0
    handed = done.get(first - 1)
    for number, stage in enumerate(stages):
        if number >= first:
            handed = done[number] = stage(handed)
    done.pop(len(stages) - 1)


def _opened(operator: Any) -> Any:
    operator.open(None)
    return operator


def _of_key(key: int) -> Any:
    """A context whose current key this is."""
    return SimpleNamespace(get_current_key=lambda: key)


def _build_audit(env: _Environment, settings: Settings, manifest: Manifest, question: Question) -> None:
    """The operators of jobs.audit.build: of each table one range, which is all of the ring."""
    asked, before = msgspec.json.encode(question), msgspec.json.encode(manifest)

    def work(_again: int) -> None:
        # The world keeps no ledger.
        numbers = [number for number, table in enumerate(TABLES) if table != LEDGER]
        reading = _opened(ReadRows(settings, asked))
        comparing = _opened(CompareRows(settings, before, asked, {TABLES[number]: 1 for number in numbers}))
        writing = _opened(WriteVerdicts(settings, asked, manifest.shards))
        for number in numbers:
            for shard, rows in reading.flat_map(Row(number, 0, 0)):
                for _, told in comparing.process_element(rows, _of_key(shard)):
                    list(writing.process_element(told, None))

    env.work = work


def without_threads() -> None:
    """Arrow computes in the thread that asks it to: tables are small here, and so are threads' gains."""
    pa.set_cpu_count(1)
