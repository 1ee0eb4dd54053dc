"""Faults that the batch layer once had, or would have without one of its rules, put back one at a time.

Each is a patch of a function's text. What the machine finds of them says what it is worth.
"""

import inspect
import itertools
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from services.query.counts.store import CountStore
from tests.machine.scenes import MEETINGS, SCENES
from tests.machine.schedule import fault, schedule
from tools.erasure import erasing
from tools.history import restoring
from udfs.logic.history import rollup_plan
from udfs.operators.audit import CompareRows
from udfs.operators.rollup import CountSlices, MergeShard, PublishManifest, _Worker
from udfs.sinks.history_rows import HistoryRows
from udfs.stages import rollup_end, rollup_start
from udfs.stages.table_rows import TableRows
from udfs.stores import late_files
from udfs.stores.erasure_list import ErasureList
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import Lease, LeaseHolder


class Patch(NamedTuple):
    """`old` stands once in the text of a function, and `new` takes its place."""

    function: Callable[..., Any]
    old: str
    new: str


class Mutation(NamedTuple):
    """A fault: `wrong` says what is left out; `scene` is the one that finds it, which is played first."""

    name: str
    wrong: str
    scene: str
    patches: list[Patch]


class Found(NamedTuple):
    """Which schedule found it first, how many had been played, and in how many seconds; the fault, or None."""

    mutation: str
    by: str
    runs: int
    seconds: float
    error: str | None

    @property
    def how(self) -> str:
        """In a line."""
        if self.error is None:
            return f"not found in {self.runs} runs"
        return f"found by {self.by}, run {self.runs}: {self.error[:100]}"


# A change without a condition is one that is made again until it is done.
_AGAIN = (
    "any(self._registers.swap(there, msgspec.structs.replace(there, {})) for there in iter(self._registers.read, None))"
)

MUTATIONS = [
    Mutation("publish", "a manifest is published whatever the register says by then",
             "a rollup nearly publishes, rollup, go", [
        Patch(Lease.publish, "self._registers.swap(register, new)", _AGAIN.format("manifest=name, kept=kept")),
    ]),
    Mutation("applied", "what is applied is told whatever the register says by then",
             "a rollup nearly tells, rollup, go", [
        Patch(Lease.apply, "self._registers.swap(register, msgspec.structs.replace(register, applied=applied))",
              _AGAIN.format("applied=applied")),
    ]),
    Mutation("take", "the lease is taken whatever the register says by then",
             "two take the lease at once", [
        Patch(LeaseHolder._take, "self._registers.swap(register, new)", _AGAIN.format("token=token, holder=holder")),
    ]),
    Mutation("once", "each attempt of a lease publishes",
             "an attempt of before publishes as well", [
        Patch(Lease.publish, "if token_of(register.manifest) == self.held.token:", "if False:"),
        Patch(PublishManifest._publish, "if token_of(in_force) == self._lease.token:", "if False:"),
    ]),
    Mutation("names", "names of files have no token",
             "a rollup overwrites what another has published", [
        Patch(_Worker._open, "made_by(self._lease.token, self._attempt)", 'made_by(0, "x")'),
    ]),
    Mutation("attempts", "names of files have a token and no attempt",
             "an attempt writes over what the one before has published", [
        Patch(_Worker._open, "made_by(self._lease.token, self._attempt)", 'made_by(self._lease.token, "x")'),
    ]),
    Mutation("first", "rows are written before the manifest is published",
             "a rollup stops before it publishes, and an erasure closes", [
        Patch(PublishManifest._publish, "return self._lease.publish(name)",
              "from udfs.stages.rollup_unit import write_rows_owed as write; "
              "write(self._history, settings, name, self._lease); return self._lease.publish(name)"),
    ]),
    Mutation("redo", "nobody writes the rows that the holder before owed",
             "a rollup dies once it has published", [
        Patch(rollup_start.settle, "register.applied.manifest == register.manifest", "True"),
    ]),
    Mutation("stamp", "rows are written at the time of the clock",
             "rows are written by who holds the lease no longer", [
        Patch(HistoryRows.__init__, "lambda: token", "lambda: None"),
    ]),
    Mutation("gone", "rows of what is counted again and gone are not written as 0",
             "what is counted again has gone", [
        Patch(TableRows._day, "if hour in self._manifest.owed.recounted:", "if False:"),
    ]),
    Mutation("gaps", "what is archived late is never counted",
             "a file is archived late", [
        Patch(late_files.counted_again, "in may_be_mended(before, partition, history):", "in ():"),
    ]),
    Mutation("final", "an hour is final though files may come late",
             "a file comes as late as it may", [
        Patch(rollup_plan.plan_of, "history.late_hours + history.late_file_hours", "history.late_hours"),
    ]),
    Mutation("partitions", "what is final is told by the partitions that were counted so far",
             "a partition is archived later than the others", [
        Patch(rollup_plan.plan_of, "set(last_hours) >= set(range(partitions))", "bool(last_hours)"),
    ]),
    Mutation("again", "what was counted is forgotten when it cannot be counted again as far",
             "a file comes late without that beside it", [
        Patch(CountSlices._count_all, "if task.again and start", "if False and start"),
    ]),
    # Whoever looks at the lease after the list of files was made knows whether somebody later has written any.
    Mutation("fence", "files of later holders are deleted too, and nobody looks at the lease before",
             "a rollup deletes while another writes", [
        Patch(rollup_end.RollupEnd._forget, "files_below(self._lease.token)", "files_below(1 << 62)"),
        Patch(rollup_end.RollupEnd._forget, "if at % DELETES_BETWEEN_LOOKS == 0:", "if False:"),
    ]),
    Mutation("kept", "files of kept manifests but the one in force are deleted",
             "the manifest is lost, and two are left", [
        Patch(rollup_end.RollupEnd._forget, "for name in register.all_kept]", "for name in [register.manifest]]"),
    ]),
    Mutation("age", "raw events leave by age alone",
             "raw events are old before they are counted", [
        Patch(rollup_end.RollupEnd._forget, "min(one.forgotten_before for one in kept)", "1 << 40"),
        Patch(rollup_end.RollupEnd._forget,
              "if all(file.hour <= one.last_hours.get(file.partition, -1) for one in kept)", "if True"),
    ]),
    Mutation("oldest", "raw events leave when the newest manifest has counted them",
             "raw events are old before they are counted", [
        Patch(rollup_end.RollupEnd._forget, "min(one.forgotten_before for one in kept)",
              "max(one.forgotten_before for one in kept)"),
        Patch(rollup_end.RollupEnd._forget, "if all(file.hour", "if any(file.hour"),
    ]),
    # Of minutes nobody but repairs writes rows that late, so that it would change nothing there.
    Mutation("repair", "a repair of history's rows is written above its token",
             "a row is repaired, and then grows", [
        Patch(CompareRows._shard, "token = lease.token", "token = lease.token + 36_000_000_000"),
    ]),
    Mutation("erase", "an erasure writes over what others have written meanwhile",
             "two erasures rewrite one file", [
        Patch(erasing._Run._rewrite_file, "self._files.replace(file.path, changed, tag)",
              "any(self._files.replace(file.path, changed, self._files.read(file.path)[1]) for _ in range(9))"),
        Patch(HistoryStore.replace, 'files.replace(f"{self._root}/{path}", content, before.tag)',
              'any(files.replace(f"{self._root}/{path}", content, files.read(f"{self._root}/{path}")[1]) '
              "for _ in range(9))"),
    ]),
    Mutation("key", "who lists an erasure for the first time writes over what another has listed meanwhile",
             "two erasures of one viewer begin at once", [
        Patch(ErasureList.change, "files.create(path, msgspec.json.encode(changed))",
              "files.create(path, msgspec.json.encode(changed)) or "
              "files.replace(path, msgspec.json.encode(changed), files.read(path)[1])"),
    ]),
    # Whoever looks puts no manifest of files that are younger than the look, and all others are rewritten.
    Mutation("close", "an erasure closes, and who counted before puts a newer manifest without a look at the lease",
             "an erasure closes while a rollup has what it erased in memory", [
        Patch(erasing._Run._passes, "if closes:", "if False:"),
        Patch(_Worker._open, "self._lease.check()", "pass"),
        Patch(CountSlices._count_all, "self._lease.check()", "pass"),
        Patch(MergeShard.process_element, "self._lease.check()", "pass"),
        Patch(PublishManifest._publish, "self._lease.check().manifest", "self._unit.before_name"),
    ]),
    Mutation("turn", "an erasure does not look whether another had its turn",
             "a rollup has its turn while an erasure reads", [
        Patch(erasing._Run._passes, "if lease.check().manifest == began:", "if True:"),
    ]),
    Mutation("behind", "the query service answers however far history is behind",
             "the rollup is behind, totals", [
        Patch(CountStore.check, "history.check(spans, cut=cut(now, self._minutes_kept_days), now=now)", "pass"),
    ]),
    Mutation("newest", "a restore takes the oldest manifest",
             "the manifest is lost, and two are left", [
        Patch(restoring.restore, "sorted(candidates, reverse=True)", "sorted(candidates)"),
    ]),
    Mutation("whole", "a restore takes a manifest whose files are not there",
             "the manifest is lost with a file of the newest manifest that is left", [
        Patch(restoring._is_whole, "not history.missing_files(history.manifest(name, shards))",
              "history.manifest(name, shards) is not None"),
    ]),
    Mutation("above", "the token after a restore is not above all that was there",
             "the manifest is lost twice within an hour", [
        Patch(restoring.restore, "token + ABOVE_US", "token_of(name) + 1"),
    ]),
    Mutation("everything", "after a restore not all rows are written",
             "a rollup nearly tells, audit, go", [
        Patch(rollup_start.begin, "everything = register.applied is None", "everything = False"),
    ]),
]  # fmt: skip
# These are found within seconds, by their scenes.
FAST = tuple(one.name for one in MUTATIONS)


@contextmanager
def put_back(mutation: Mutation) -> Iterator[None]:
    """The fault is there."""
    with ExitStack() as stack:
        functions = dict.fromkeys(patch.function for patch in mutation.patches)
        for function in functions:
            stack.enter_context(_patched(function, [one for one in mutation.patches if one.function is function]))
        yield


@contextmanager
def _patched(function: Any, patches: list[Patch]) -> Iterator[None]:
    # The code alone: whoever has imported the function has this one.
    text = textwrap.dedent(inspect.getsource(function))
    for patch in patches:
        if text.count(patch.old) != 1:
            raise ValueError(f"{function.__qualname__} has {patch.old!r} {text.count(patch.old)} times, not once")
        text = text.replace(patch.old, patch.new)
    names: dict[str, Any] = {}
    exec(compile(text, "<mutation>", "exec"), dict(function.__globals__), names)
    before, function.__code__ = function.__code__, names[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = before


def find(name: str, seconds: float, first_seed: int = 1) -> Found:
    """Put the mutation of this name back; play its scene, all others, and random schedules, until one goes wrong."""
    mutation = next(one for one in MUTATIONS if one.name == name)
    began = time.perf_counter()
    first_of_all = sorted([*SCENES, *MEETINGS], key=lambda scene: scene.name != mutation.scene)
    scenes = ((scene.name, scene.operations) for scene in first_of_all)
    seeds = ((f"seed {seed}", schedule(seed)) for seed in itertools.count(first_seed))
    runs = 0
    with put_back(mutation):
        for by, operations in itertools.chain(scenes, seeds):
            # Scenes are few: all of them are played.
            if time.perf_counter() - began > seconds and runs >= len(SCENES) + len(MEETINGS):
                break
            runs += 1
            error = fault(operations)
            if error is not None:
                return Found(name, by, runs, time.perf_counter() - began, error)
    return Found(name, "", runs, time.perf_counter() - began, None)
