"""Schedules: lists of operations with two numbers each, any of which may be left out; played and shortened.

An entry means something whatever stands before it, and what it does follows from its numbers and the world alone.
"""

import collections
import random
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from services.query.counts.completeness import HistoryAwayError
from tests.machine.actors import ACTORS, answer, installed, without_threads
from tests.machine.jobs import Job
from tests.machine.world import VIEWERS, World, WrongError, must
from tools.erasure import ErasureError
from udfs.logic.history.manifest import HistoryError
from udfs.stores.lease import LeaseLostError

Operation = tuple[str, int, int]
SLOTS = 4
# How many steps a job goes on: one or a few, or to its end.
STEPS = (1, 1, 2, 3, 5, 10, 40, 10_000)
# How often each operation is in a random schedule.
WEIGHTS = {
    "go": 50, "nearly": 6, "pair": 4, "kill": 3, "again": 5, "view": 10, "retold": 2, "tick": 5, "hour": 9, "sleep": 1,
    "roll": 2, "commit": 9, "stream": 4, "rollup": 10, "audit": 2, "erasure": 2, "erasure_again": 1, "import": 3,
    "query": 5, "rules": 1, "plant": 1, "spoil": 1, "look": 3, "lose": 1, "lose_file": 1, "snapshot": 1, "restore": 2,
    "make": 1,
}  # fmt: skip
# What a job is let go on to: words of its next step.
NEXT = (
    "swap the register: manifest", "swap the register: applied", "put world/history/manifests", " rows: view_totals",
    "list world/history/manifests", "swap the register: token", "if it is as it was", "put world/history/slices",
    "delete world/history", "read world/history/slices", "viewers.parquet", " rows: views_by_hour",
)  # fmt: skip
# Steps of one operation that a trace shows at each end.
SHOWN = 4
# How a job may end while others are in its way: it is refused, or has lost its lease.
REFUSED = (SystemExit, LeaseLostError, HistoryError, ErasureError, HistoryAwayError)
# Which two begin together, more often than chance has it.
PAIRS = [
    (first, second)
    for first in ("rollup", "audit", "erasure", "rollup")
    for second in ("rollup", "audit", "erasure", "query")
] + [("rollup", "import"), ("import", "import"), ("import", "erasure")]


class Played(NamedTuple):
    """What came of a schedule: jobs' steps, which kinds of jobs met, and the errors that ended jobs."""

    steps: int
    met: collections.Counter[tuple[str, str]]
    errors: collections.Counter[str]


class Play:
    """One schedule, in a world of its own."""

    def __init__(self, trace: Callable[[str], None] = lambda _text: None) -> None:
        without_threads()
        self.world = World()
        self._slots: list[Job | None] = [None] * SLOTS
        self._trace = trace
        self._jobs = self._steps = 0
        self._met: collections.Counter[tuple[str, str]] = collections.Counter()
        self._errors: collections.Counter[str] = collections.Counter()

    def play(self, operations: Sequence[Operation], *, to_its_end: bool = True) -> Played:
        """All of them; then, if so, all becomes quiet, and must be equal. Raises WrongError."""
        with installed(self.world):
            try:
                for operation in operations:
                    self._do(*operation)
                if to_its_end:
                    self._end()
            finally:
                for job in self._slots:
                    if job is not None:
                        job.kill()
        return Played(self._steps, self._met, self._errors)

    def _do(self, name: str, a: int, b: int) -> None:
        at = a % SLOTS
        job = self._slots[at]
        self._trace(f"{name} {a} {b}")
        if name in ACTORS:
            if job is None:
                self._begin(at, name, b)
        elif name == "pair":
            for place, kind in zip((at, (a + 1) % SLOTS), PAIRS[b // 8 % len(PAIRS)], strict=True):
                if self._slots[place] is None:
                    self._begin(place, kind, b)
        elif name == "kill" and job is not None:
            self._trace(f"    {job.name} is killed before: {job.next_step}")
            job.kill()
            self._slots[at] = None
        elif name == "again" and job is not None and job.restart is not None:
            self._again(job, at, (a + 1 + b // 8 % 3) % SLOTS, b)
        elif name == "go" and job is not None:
            self._go(job, STEPS[b % len(STEPS)])
        elif name == "nearly" and job is not None:
            # Until what it has done is to be in force, or to be told, or so many steps before that.
            self._go(job, STEPS[-1], lambda: NEXT[b % len(NEXT)] not in job.next_step)
        elif name == "lose_file":
            # What is lost while somebody goes on from it is in what they publish.
            if all(one is None or one.kind == "query" for one in self._slots):
                self.world.lose_file(a, b)
        elif name not in ("kill", "again", "go", "nearly"):
            getattr(self.world, name)(a, b)

    def _begin(self, at: int, kind: str, a: int) -> None:
        # Nobody restores while somebody who holds the lease may live.
        if kind != "restore" or all(job is None or job.kind == "query" for job in self._slots):
            self._slots[at] = self._new(kind, a)

    def _new(self, kind: str, a: int) -> Job:
        self._jobs += 1
        return Job(kind, f"{kind} {self._jobs}", lambda job: ACTORS[kind](self.world, job, a))

    def _again(self, job: Job, at: int, other: int, b: int) -> None:
        """A task of a job has failed, and Flink begins it again; the attempt before may go on for a while."""
        restart = job.restart
        assert restart is not None
        if b % 2 and self._slots[other] is None:
            self._slots[other] = job
        else:
            job.kill()
        self._slots[at] = again = Job(job.kind, f"{job.name}, again", lambda _job: restart(b // 2 % 2))
        again.restart, again.token = restart, job.token

    def _go(self, job: Job, steps: int, while_: Callable[[], bool] = lambda: True) -> None:
        done = []
        for _ in range(steps):
            text, before = job.next_step, job.steps
            goes_on = job.go()
            if job.steps > before:
                done.append(text)
                self._note_met(job)
            if not goes_on or not while_():
                break
        self._steps += len(done)
        self._trace_steps(job, done)
        if job.is_over:
            self._slots = [None if one is job else one for one in self._slots]
            self._judge(job)

    def _trace_steps(self, job: Job, done: Sequence[str]) -> None:
        """The first ones and the last, of many."""
        for text in done if len(done) <= 2 * SHOWN else [*done[:SHOWN], "...", *done[-SHOWN:]]:
            self._trace(f"    {job.name}: {text}")

    def _judge(self, job: Job) -> None:
        """A job may end with an error, when others are in its way; not with a wrong number."""
        error = job.error
        if isinstance(error, WrongError):
            raise error
        if error is not None:
            text = f"{type(error).__name__}: {error}"
            self._trace(f"    {job.name} ends: {text}")
            must(self._is_excused(job, error), f"{job.kind} ends with {text}")
            self._errors[f"{job.kind}: {re.sub(r'[0-9a-f]{6,}', '#', text)[:90]}"] += 1

    def _is_excused(self, job: Job, error: BaseException) -> bool:
        """Whether others were in its way: it was refused, or misses a file that nobody needs who may still publish.

        Whoever has lost the lease misses what it wrote itself, or began with, once later holders have deleted it: no
        kept manifest names that. Where history is lost, its files are missing for everybody.
        """
        if not isinstance(error, FileNotFoundError):
            return isinstance(error, REFUSED)
        row = self.world.registers.row
        has_lost = job.token is not None and (row is None or row.token != job.token)
        return self.world.is_lost or (has_lost and not self.world.is_needed(str(error)))

    def _note_met(self, job: Job) -> None:
        for other in self._slots:
            if (
                other is not None
                and other is not job
                and other not in job.met
                and job.has_written
                and other.has_written
            ):
                job.met.add(other)
                other.met.add(job)
                first, second = sorted((job.kind, other.kind))
                self._met[first, second] += 1

    def _end(self) -> None:
        """Nobody is killed any more, and all is archived."""
        world = self.world
        for at, job in enumerate(self._slots):
            if job is not None:
                job.kill()
                self._slots[at] = None
        self._trace("the end: all is archived, and all jobs come to their ends")
        for _ in range(4):
            world.tick(0, 0)
            world.roll(0, 0)
            world.commit_all()
        if world.is_lost:
            self._whole("restore")
        world.stream(0, 0)
        self._whole("rollup")
        world.check_all_is_counted()
        world.check_left_over()
        if world.is_false:
            self._whole("audit")
            world.check_repaired()
        world.check_tables()
        for a in range(9):
            answer(world, a, may_refuse=False)
        if world.erased:
            # One that was killed may not have said yet who is erased.
            for viewer in sorted(world.erased):
                self._whole("erasure", VIEWERS.index(viewer))
            # Until nothing of them can come any more.
            for _ in range(6):
                world.sleep(2, 0)
            world.commit_all()
            self._whole("erasure_again")
            for viewer in world.erased:
                world.check_erased(viewer)

    def _whole(self, kind: str, a: int = 0) -> None:
        job = self._new(kind, a)
        self._slots[0] = job
        self._go(job, 1_000_000)
        must(job.error is None, f"{job.name} alone ends with {type(job.error).__name__}: {job.error}")


def schedule(seed: int, left_out: Collection[str] = ()) -> list[Operation]:
    """A random one: more of some things than of others, so that what is rare meets.

    Operations can be left out; so can "second": then one rollup runs at a time.
    """
    r = random.Random(seed)
    names = [name for name in WEIGHTS if name not in left_out]
    weights = [WEIGHTS[name] * r.choice((0.2, 1, 1, 5)) for name in names]
    made = []
    for name in r.choices(names, weights, k=r.choice((40, 80, 160))):
        a, b = r.randrange(10**6), r.randrange(10**6)
        if "second" in left_out:
            a, b = (a - a % SLOTS, b) if name == "rollup" else (a, b - b % 2) if name == "again" else (a, b)
        made.append((name, a, b))
    return made


def fault(operations: Sequence[Operation], trace: Callable[[str], None] = lambda _text: None) -> str | None:
    """What goes wrong in a schedule; None if nothing does."""
    try:
        Play(trace).play(operations)
    except WrongError as error:
        return str(error)
    return None


def shortest(operations: list[Operation], seconds: float) -> list[Operation]:
    """A schedule that goes wrong, without whatever can be left out for the same kind of fault; as far as time goes."""
    until = time.perf_counter() + seconds
    kind = _kind(fault(operations))
    size = len(operations) // 2
    while size:
        at = 0
        while at < len(operations):
            fewer = operations[:at] + operations[at + size :]
            if time.perf_counter() > until:
                return operations
            if _kind(fault(fewer)) == kind:
                operations = fewer
            else:
                at += size
        size //= 2
    return operations


def _kind(error: str | None) -> str | None:
    """The words with which it begins."""
    return None if error is None else re.match(r"[a-z_ ]*", error)[0]  # type: ignore[index]


class Runs(NamedTuple):
    """What came of many random schedules; `failed` is the seed of one that goes wrong."""

    runs: int
    steps: int
    seconds: float
    met: collections.Counter[tuple[str, str]]
    errors: collections.Counter[str]
    failed: int | None


def runs(seeds: Iterable[int], seconds: float, left_out: Collection[str] = ()) -> Runs:
    """Play these, for so long at most, until one goes wrong."""
    began, number, steps = time.perf_counter(), 0, 0
    met: collections.Counter[tuple[str, str]] = collections.Counter()
    errors: collections.Counter[str] = collections.Counter()
    failed = None
    for seed in seeds:
        if time.perf_counter() - began > seconds:
            break
        number += 1
        try:
            played = Play().play(schedule(seed, left_out))
        except WrongError:
            failed = seed
            break
        steps += played.steps
        met += played.met
        errors += played.errors
    return Runs(number, steps, time.perf_counter() - began, met, errors, failed)
