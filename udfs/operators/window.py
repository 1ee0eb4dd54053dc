"""The window stage: a Flink operator that keeps one ShardWindow (udfs.logic.stream.window) per key in step with state.

Input is Row(shard key, element of udfs.operators.dedup). Output, for the sink in the same worker, are Changes, Closed,
Settle and Top objects. A shard has a timer while anything that it has emitted may be unwritten. So after a restore the
timer fires, and all open cells are emitted again, even if nothing more arrives.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pyflink.common import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, TimerService
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor

from settings import CountingSettings, JobSettings
from udfs.logic.stream.kept_settings import KeptSettings, SettingsRefusedError
from udfs.logic.stream.ledger import Tally
from udfs.logic.stream.time_rules import is_behind, next_turn_ms
from udfs.logic.stream.window import Ranking, ShardWindow
from udfs.operators.dedup import LEDGER
from udfs.operators.due import Due
from udfs.operators.memory import budget
from udfs.operators.state_settings import StateSettings, foreign_key

# The rate at which a shard may rank cells. Ranking reads about 2,000 cells a millisecond, so that four shards take a
# twentieth of a core, however many cells there are.
CELLS_RANKED_PER_MS = 25


@dataclass(frozen=True)
class Changes:
    """What has changed in a shard: absolute counts, as dated rows of udfs.logic.minutes.cells, and (salt, tally)."""

    shard: int
    counts: list[bytes]
    tallies: list[tuple[int, Tally]]


@dataclass(frozen=True)
class Closed:
    """A shard has closed every minute up to this one. It is published when all that was emitted is written."""

    shard: int
    minute: int


@dataclass(frozen=True)
class Settle:
    """All that the shard has emitted must be written now."""

    shard: int


@dataclass(frozen=True)
class Top:
    """New top lists of a shard."""

    shard: int
    rankings: list[Ranking]


class Window(KeyedProcessFunction):
    """Keyed by the shard's key."""

    def __init__(self, rules: CountingSettings, job: JobSettings, kept: KeptSettings, shard_keys: list[int]) -> None:
        self._rules = rules
        self._job = job
        self._kept = kept
        self._shard_of_key = {key: shard for shard, key in enumerate(shard_keys)}

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the state handles."""
        octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
        self._chunks = runtime_context.get_map_state(MapStateDescriptor("partials", Types.LONG(), octets))
        self._header = runtime_context.get_state(ValueStateDescriptor("header", octets))
        self._settings = StateSettings(runtime_context, self._kept, "the state of windows")
        self._by_shard: dict[int, ShardWindow] = {}
        self._budget = budget(runtime_context, self._job.cells_bytes_max, self._job)
        self._emit_due = Due()
        self._rank_due = Due()

    def process_element(self, value: bytes, ctx: KeyedProcessFunction.Context) -> Iterable[Any]:
        """Add one element to its shard."""
        shard, window = self._of(ctx.get_current_key())
        if value[:1] == LEDGER:
            salt = int.from_bytes(value[1:3], "little", signed=True)
            window.absorb_tallies(salt, Tally.decode_all(value[3:]))
        else:
            for key, rows in window.absorb(value[1:]):
                self._chunks.put(key, rows)
        self._header.update(window.header())
        self._arm(ctx.timer_service(), shard, window)
        return ()

    def on_timer(
        self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext
    ) -> Iterator[Changes | Closed | Settle | Top]:
        """Emit what has changed, and then what has closed. When it is due, rank."""
        shard, window = self._of(ctx.get_current_key())
        if self._emit_due.take(shard, timestamp):
            yield from self._emit(shard, window)
        if self._rank_due.take(shard, timestamp):
            yield Top(shard, window.rank())
        self._arm(ctx.timer_service(), shard, window)

    def _emit(self, shard: int, window: ShardWindow) -> Iterator[Changes | Closed | Settle]:
        emission = window.emit()
        if emission.counts or emission.tallies:
            yield Changes(shard, emission.counts, emission.tallies)
        elif emission.settle:
            yield Settle(shard)
        for key in emission.dropped:
            self._chunks.remove(key)
        for key, rows in emission.stored:
            self._chunks.put(key, rows)
        self._header.update(window.header())
        if emission.closed_through is not None:
            yield Closed(shard, emission.closed_through)

    def _arm(self, timers: TimerService, shard: int, window: ShardWindow) -> None:
        """Set a timer for each kind of work. They are independent, so that a late ranking does not delay counts."""
        rules = self._rules
        now_ms = timers.current_processing_time()
        behind = is_behind(window.newest_append_ms, now_ms)
        if window.has_work:
            # All shards write at the same time, since each bundle has a cost. In a backlog they have many rows, and
            # write in turn.
            at_ms = (
                next_turn_ms(now_ms, rules.catch_up_emit_interval_ms, shard, rules.shards)
                if behind
                else next_turn_ms(now_ms, rules.emit_interval_ms)
            )
            self._emit_due.arm(timers, shard, at_ms)
        if window.has_unranked:
            interval_ms = max(
                rules.rank_interval_ms,
                rules.catch_up_emit_interval_ms if behind else 0,
                window.cells_to_rank // CELLS_RANKED_PER_MS,
            )
            self._rank_due.arm(timers, shard, next_turn_ms(now_ms, interval_ms, shard, rules.shards))

    def _of(self, key: int) -> tuple[int, ShardWindow]:
        shard = self._shard_of_key.get(key, -1)
        window = self._by_shard.get(shard)
        if window is None:
            header = self._header.value()
            self._settings.check(is_new=header is None)
            if shard < 0:
                raise SettingsRefusedError(foreign_key("windows", "shards", self._rules.shards, self._rules))
            window = self._by_shard[shard] = ShardWindow(self._rules, self._budget)
            if header is not None:
                window.restore(bytes(header), ((key, bytes(rows)) for key, rows in self._chunks.items()))
        return shard, window
