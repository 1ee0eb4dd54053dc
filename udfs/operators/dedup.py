"""The dedup stage: a Flink operator that keeps one SaltDedup (udfs.logic.stream.dedup) per key in step with state.

Input is Row(key, Row(value, record timestamp, partition, offset)). A negative key is not a salt's: it is for the
foreign records of partition -1 - key, and takes the place of a salt in the ledger. The broadcast input is
Row(viewer_id, periods, partition, offset), see udfs.logic.stream.block_list. Output is Row(shard key, element). An
element is PARTIAL or LEDGER, then its bytes. The side outputs for late events and dead letters carry letters of
udfs.logic.stream.rejected, several for one record if its events do not fit into one.
"""

from collections.abc import Iterator
from typing import Any

from pyflink.common import Row, Types
from pyflink.common.time import Time
from pyflink.datastream import KeyedBroadcastProcessFunction, OutputTag, RuntimeContext
from pyflink.datastream.state import ListStateDescriptor, MapStateDescriptor, StateTtlConfig, ValueStateDescriptor

from settings import CountingSettings, JobSettings, KafkaSettings
from udfs.logic.stream.block_list import BlockList, read_blocked
from udfs.logic.stream.dedup import SaltDedup
from udfs.logic.stream.kept_settings import KeptSettings, SettingsRefusedError
from udfs.logic.stream.rejected import letters
from udfs.logic.stream.time_rules import is_behind, next_turn_ms
from udfs.operators.due import Allowance, Due
from udfs.operators.memory import budget
from udfs.operators.state_settings import StateSettings, foreign_key
from udfs.sources.compacted import CompactedTopic

BLOCKED_STATE = "blocked-viewers"
PARTIAL = b"P"
LEDGER = b"L"
# Flink hands records over in bundles, so that all records of a quarter of a second or more come in one moment.
FLUSHES_AT_ONCE = 4


def late_tag() -> OutputTag:
    """Make the tag of late events. Each user makes one, because a tag holds a JVM object, which cannot be pickled."""
    return OutputTag("late", Types.PRIMITIVE_ARRAY(Types.BYTE()))


def dead_letter_tag() -> OutputTag:
    """Make the tag of dead letters."""
    return OutputTag("dead-letter", Types.PRIMITIVE_ARRAY(Types.BYTE()))


class Dedup(KeyedBroadcastProcessFunction):
    """Keyed by the salt's key. Chunks of ids are in two maps, by parity of the generation, so that one can be cleared.

    The block list is read from its topic before the first record, and later changes come by the broadcast. Broadcast
    state alone would not do: it is as old as the checkpoint, and events that come before it is up to date would be
    judged differently from one run to the next.
    """

    def __init__(
        self,
        rules: CountingSettings,
        job: JobSettings,
        kafka: KafkaSettings,
        kept: KeptSettings,
        salt_keys: list[int],
        shard_keys: list[int],
    ) -> None:
        self._rules = rules
        self._job = job
        self._kept = kept
        self._kafka = kafka
        self._salt_of_key = {key: salt for salt, key in enumerate(salt_keys)}
        self._shard_keys = shard_keys

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the state handles."""
        octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
        # The generation decides whether an id counts, so expired state does no harm. The default, which never returns
        # it, would cost a round trip to the JVM for every write, since PyFlink then caches nothing.
        ttl = (
            StateTtlConfig.new_builder(Time.milliseconds(self._rules.state_ttl_ms))
            .set_state_visibility(StateTtlConfig.StateVisibility.ReturnExpiredIfNotCleanedUp)
            .build()
        )
        self._chunks = []
        for name in ("chunks-even", "chunks-odd"):
            descriptor = MapStateDescriptor(name, Types.LONG(), octets)
            descriptor.enable_time_to_live(ttl)
            self._chunks.append(runtime_context.get_map_state(descriptor))
        # This state has no time to live: a count is sent however long the job was away.
        self._unsent = runtime_context.get_list_state(ListStateDescriptor("unsent", octets))
        self._header = runtime_context.get_state(ValueStateDescriptor("header", octets))
        self._settings = StateSettings(runtime_context, self._kept, "the state of dedup")
        self._block_list = BlockList(
            budget(runtime_context, self._job.blocked_bytes_max, self._job, group="blocked_viewers")
        )
        self._blocked = CompactedTopic(self._kafka, self._kafka.blocked_topic, read_blocked)
        self._blocked.read_however_long(lambda viewer_id, periods: self._block_list.put(viewer_id.encode(), periods))
        self._late = late_tag()
        self._dead_letter = dead_letter_tag()
        self._by_salt: dict[int, SaltDedup] = {}
        self._budget = budget(runtime_context, self._job.ids_bytes_max, self._job)
        self._flush_due = Due()
        self._tallies_due = Due()
        self._allowance = Allowance(FLUSHES_AT_ONCE)
        # The salts that have unsent counts in state.
        self._has_stored_unsent: set[int] = set()

    def process_broadcast_element(self, value: Row, ctx: KeyedBroadcastProcessFunction.Context) -> tuple[()]:  # noqa: ARG002
        """Learn when one viewer is blocked."""
        viewer_id, periods, partition, offset = value
        # The broadcast repeats what was read at the start. An older entry must not replace a newer one.
        if self._blocked.is_news(partition, offset):
            self._block_list.put(viewer_id.encode(), bytes(periods) or None)
        return ()

    def process_element(self, value: Any, ctx: KeyedBroadcastProcessFunction.ReadOnlyContext) -> Iterator[Any]:
        """Judge one record."""
        body, record_ms, partition, offset = value
        dedup = self._of(ctx.get_current_key())
        before = dedup.generation
        outcome = dedup.judge(body or b"", record_ms, dedup.salt, self._block_list.table)
        self._block_list.let_go()
        if outcome.generation > before:
            # Clear the ids of two or more generations ago. They are under the parity of the new generation, and under
            # the other one too if more than one generation has passed.
            self._chunks[outcome.generation % 2].clear()
            if outcome.generation > before + 1:
                self._chunks[(outcome.generation + 1) % 2].clear()
        if outcome.chunk is not None:
            self._chunks[outcome.generation % 2].put(outcome.sequence, outcome.chunk)
        for tag, rejected in ((self._late, outcome.late), (self._dead_letter, outcome.dead)):
            place = self._kafka.events_topic, partition, offset
            for letter in letters(*place, outcome.append_ms, outcome.batch_id, rejected):
                yield tag, letter
        timers = ctx.timer_service()
        now_ms = timers.current_processing_time()
        rules = self._rules
        flush_ms = rules.catch_up_flush_interval_ms if is_behind(dedup.append_ms, now_ms) else rules.flush_interval_ms
        if self._allowance.take(dedup.salt, now_ms, flush_ms):
            # Send at once. A timer would delay this by up to two bundles, and the counts would have to go into state.
            yield from self._flush(dedup)
        else:
            if outcome.unsent is not None:
                self._unsent.add(outcome.unsent.tobytes())
                self._has_stored_unsent.add(dedup.salt)
            # All salts have their turn at the same time, since each bundle has a cost.
            self._flush_due.arm(timers, dedup.salt, next_turn_ms(now_ms, flush_ms))
        self._header.update(dedup.header())
        self._tallies_due.arm(timers, dedup.salt, next_turn_ms(now_ms, rules.emit_interval_ms))

    def on_timer(self, timestamp: int, ctx: KeyedBroadcastProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Send unsent counts or tallies, whatever is due. After a restore both are due."""
        dedup = self._of(ctx.get_current_key())
        if self._flush_due.take(dedup.salt, timestamp):
            yield from self._flush(dedup)
        if self._tallies_due.take(dedup.salt, timestamp):
            yield self._ledger(dedup)
        self._header.update(dedup.header())

    def _flush(self, dedup: SaltDedup) -> Iterator[Row]:
        # Foreign records of a partition have tallies, but no counts and no frontier.
        if dedup.salt < 0:
            return
        for shard, element in dedup.flush().elements.items():
            yield Row(self._shard_keys[shard], PARTIAL + element)
        if dedup.salt in self._has_stored_unsent:
            self._has_stored_unsent.remove(dedup.salt)
            self._unsent.clear()

    def _ledger(self, dedup: SaltDedup) -> Row:
        key = self._shard_keys[dedup.salt % len(self._shard_keys)]
        tallies = b"".join(tally.encode() for tally in dedup.take_tallies())
        return Row(key, LEDGER + dedup.salt.to_bytes(2, "little", signed=True) + tallies)

    def _of(self, key: int) -> SaltDedup:
        salt = self._salt_of_key.get(key, key)
        dedup = self._by_salt.get(salt)
        if dedup is None:
            header = self._header.value()
            self._settings.check(is_new=header is None)
            if key >= 0 and key not in self._salt_of_key:
                raise SettingsRefusedError(foreign_key("dedup", "salts", self._rules.salts, self._rules))
            dedup = self._by_salt[salt] = SaltDedup(salt, self._rules, budget=self._budget)
            if header is not None:
                chunks = (bytes(chunk) for chunks in self._chunks for chunk in chunks.values())
                dedup.restore(bytes(header), chunks, (bytes(rows) for rows in self._unsent.get()))
                self._has_stored_unsent.add(salt)
        return dedup
