"""Gathers events by salt, writes them to Kafka as batches, and sends heartbeats for idle salts. Knows no HTTP.

Everything but the poll thread runs on the event loop, so nothing here needs a lock. The result of a batch's future is
None once every in-sync replica has the record, and otherwise the reason why the write failed. Events of a failed batch
may have been written all the same; sending them again with the same ids is safe.
"""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from connectors.kafka_clients import client_config
from schemas.topics import RECORD_BYTES_MAX
from schemas.values import ID_BYTES
from services.ingest.broker_clocks import BrokerClocks
from services.ingest.failure_log import FailureLog
from services.ingest.packing import RECORD_EVENTS_MAX, Packed, batch_value
from services.ingest.partition_breaker import PartitionBreaker
from services.ingest.partition_silence import PartitionSilence
from services.ingest.tally import IngestTally
from services.ingest.topic_watch import TopicWatch
from settings import Settings

LOG = structlog.get_logger("ingest")
QUEUE_KBYTES = 256 << 10
POLL_S = 0.1
# Heartbeats are acknowledged about every second. Silence for this long means that Kafka hangs or is out of reach.
SILENCE_MAX_S = 10.0
NOT_IN_TIME = "Kafka has not acknowledged it in time"


@dataclass(eq=False, slots=True)
class Batch:
    """Events of one salt that share a Kafka record, and are written or lost together.

    `blocks` hold them one after the other; `count` is their number.
    """

    salt: int
    done: asyncio.Future[str | None]
    blocks: list[bytes] = field(default_factory=list)
    count: int = 0
    batch_id: bytes = field(default_factory=lambda: os.urandom(ID_BYTES))
    sent_at_s: float = 0.0


class Share(NamedTuple):
    """Events of one body that go into one batch: when that is done, and the indexes of the events.

    `batch_id` is empty if the events are refused and go into none.
    """

    done: asyncio.Future[str | None]
    indexes: list[int]
    batch_id: bytes = b""


class EventWriter:
    """Writes to the events topic. Call `start` on a running loop, and `stop` before the loop ends."""

    def __init__(self, settings: Settings, *, producer_id: str, tally: IngestTally) -> None:
        self._tally = tally
        tally.in_flight.set_function(lambda: self.events_in_flight)
        self._kafka = settings.kafka
        self._ingest = ingest = settings.ingest
        self._salts = salts = settings.counting.salts
        self._topics = TopicWatch(settings)
        self._clocks = BrokerClocks(settings.kafka.partitions)
        self._silence_max_s = SILENCE_MAX_S + ingest.heartbeat_ms / 1000
        self._silence = PartitionSilence(settings.kafka.partitions, self._silence_max_s)
        self._breaker = PartitionBreaker(settings.kafka.partitions, settings.overflow.wait_ms / 1000)
        self._producer_id = producer_id
        self._events_max = min(ingest.batch_events_max, RECORD_EVENTS_MAX)
        self._keys = [salt.to_bytes(4, "big") for salt in range(salts)]
        self._open: list[Batch | None] = [None] * salts
        self._pending = [0] * salts
        self._sent_at_s = [0.0] * salts
        # How many events of each salt Kafka has acknowledged since the start.
        self._acknowledged = [0] * salts
        # Why the last write of each salt failed; None if it did not.
        self._failed: list[str | None] = [None] * salts
        self._tick: asyncio.TimerHandle | None = None
        self._stopping = threading.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._down = False
        self._failures = FailureLog(_say_failed, time.monotonic)
        self._acked_at_s: float | None = None
        self.events_in_flight = 0

    def start(self) -> None:
        """Open the producer. Returns at once, also while Kafka is away; `trouble` says so then."""
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(
            {
                **client_config(self._kafka),
                "client.id": self._producer_id,
                "acks": "all",
                "enable.idempotence": True,
                "delivery.timeout.ms": self._ingest.delivery_timeout_ms,
                # Events have been gathered for `linger_ms` already.
                "linger.ms": 1,
                "batch.size": RECORD_BYTES_MAX,
                "message.max.bytes": RECORD_BYTES_MAX,
                "queue.buffering.max.kbytes": QUEUE_KBYTES,
                "reconnect.backoff.max.ms": 1000,
                "error_cb": self._on_error,
            }
        )
        self._thread = threading.Thread(target=self._poll, name="kafka-poll", daemon=True)
        self._thread.start()
        self._tasks = [asyncio.create_task(self._topics.run()), asyncio.create_task(self._look_after_salts())]

    async def stop(self) -> None:
        """Write the events that wait, and return when Kafka has acknowledged all, or after the delivery time-out.

        Callers whose events are not acknowledged by then get no answer.
        """
        for task in self._tasks:
            task.cancel()
        self._flush_all()
        await asyncio.to_thread(self._producer.flush, self._ingest.delivery_timeout_ms / 1000)
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    @property
    def trouble(self) -> str | None:
        """Why events cannot be written now; None if they can."""
        if self._topics.trouble is not None:
            return self._topics.trouble
        if self._down:
            return f"no Kafka broker answers at {self._kafka.bootstrap_servers}"
        if self._acked_at_s is None:
            return "Kafka has not acknowledged a first heartbeat yet"
        if all(self._failed):
            # Heartbeats go on, and the first one that is acknowledged ends this state.
            return f"the last writes of all {self._salts} salts failed: {self._failed[0]}"
        silent_s = time.monotonic() - self._acked_at_s
        if silent_s > self._silence_max_s:
            return f"Kafka has acknowledged nothing for {silent_s:.0f} s"
        return self._all_refused(time.monotonic())

    @property
    def is_misconfigured(self) -> bool:
        """Whether somebody must mend topics or settings, and waiting for Kafka would not help."""
        return self._topics.is_wrong

    @property
    def is_slow(self) -> bool:
        """Whether all partitions take longer than events should wait."""
        now_s = time.monotonic()
        return all(self._breaker.trouble(partition, now_s) for partition in range(self._kafka.partitions))

    @property
    def partial_trouble(self) -> list[str]:
        """Why events of some partitions cannot be written now, one reason for each; others can."""
        now_s = time.monotonic()
        found = (self._refusal(partition, now_s) for partition in range(self._kafka.partitions))
        return [reason for reason in found if reason is not None]

    def _all_refused(self, now_s: float) -> str | None:
        """Why no partition takes events; None as soon as one is found that does, which is the first one as a rule."""
        first = None
        for partition in range(self._kafka.partitions):
            reason = self._refusal(partition, now_s)
            if reason is None:
                return None
            first = first or reason
        return f"none of {self._kafka.partitions} partitions takes events; of the first: {first}"

    def _refusal(self, partition: int, now_s: float) -> str | None:
        return self._clocks.trouble(partition) or self._silence.trouble(partition, now_s)

    def write(self, packed: Packed, *, has_overflow: bool = False) -> list[Share]:
        """Take the events over. Returns the future of each batch that they go into, with the indexes of the events.

        With `has_overflow`, events of partitions that are slow now are refused, since they can go elsewhere. Other
        callers share the futures: wait for them, but do not cancel them.
        """
        shares: list[Share] = []
        taken = 0
        now_s = time.monotonic()
        for salt, (block, ends, places) in enumerate(zip(packed.blocks, packed.ends, packed.indexes, strict=True)):
            if not places:
                continue
            partition = salt % self._kafka.partitions
            reason = self._refusal(partition, now_s)
            if reason is None and has_overflow:
                reason = self._breaker.trouble(partition, now_s)
            if reason is not None:
                refused = self._loop.create_future()
                refused.set_result(reason)
                shares.append(Share(refused, places))
                self._tally.not_written(len(places))
                continue
            taken += len(places)
            at = start = 0
            while at < len(places):
                batch = self._open[salt]
                if batch is None:
                    batch = self._open[salt] = Batch(salt, self._loop.create_future())
                until = min(at + self._events_max - batch.count, len(places))
                end = int(ends[until - 1])
                batch.blocks.append(block[start:end])
                batch.count += until - at
                shares.append(Share(batch.done, places[at:until], batch.batch_id))
                at, start = until, end
                if batch.count >= self._events_max:
                    self._flush(salt)
        self.events_in_flight += taken
        if self._tick is None:
            self._tick = self._loop.call_later(self._ingest.linger_ms / 1000, self._flush_all)
        return shares

    def _flush_all(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        for salt in range(self._salts):
            self._flush(salt)

    def _flush(self, salt: int) -> None:
        batch = self._open[salt]
        if batch is not None:
            self._open[salt] = None
            self._send(batch)

    def _send(self, batch: Batch) -> None:
        value = batch_value(
            batch.blocks,
            batch.count,
            batch_id=batch.batch_id,
            producer_id=self._producer_id,
            salt=batch.salt,
            salts=self._salts,
            now_ms=time.time_ns() // 1_000_000,
            acknowledged=self._acknowledged[batch.salt],
        )

        def delivered(error: Any, message: Any) -> None:
            failure, append_ms = (None, message.timestamp()[1]) if error is None else (str(error), 0)
            with contextlib.suppress(RuntimeError):  # The loop is closed, so nobody waits any more.
                self._loop.call_soon_threadsafe(self._settle, batch, failure, append_ms)

        self._pending[batch.salt] += 1
        self._sent_at_s[batch.salt] = batch.sent_at_s = time.monotonic()
        self._breaker.sent(batch.salt % self._kafka.partitions, batch.sent_at_s)
        try:
            self._producer.produce(
                self._kafka.events_topic,
                value,
                key=self._keys[batch.salt],
                partition=batch.salt % self._kafka.partitions,
                on_delivery=delivered,
            )
        except (BufferError, KafkaException) as error:
            self._loop.call_soon(self._settle, batch, str(error), 0)

    def _settle(self, batch: Batch, failure: str | None, append_ms: int) -> None:
        self._pending[batch.salt] -= 1
        self.events_in_flight -= batch.count
        self._failed[batch.salt] = failure
        partition, now_s = batch.salt % self._kafka.partitions, time.monotonic()
        self._breaker.settled(partition, now_s - batch.sent_at_s, now_s, is_written=failure is None)
        if failure is None:
            self._acked_at_s = now_s
            self._silence.acknowledged(partition, self._acked_at_s, was_away=self._down)
            self._acknowledged[batch.salt] += batch.count
            self._tally.acknowledged(append_ms, batch.count)
            self._clocks.acknowledged(partition, append_ms, time.time_ns() // 1_000_000)
            if self._down:
                self._down = False
                LOG.info("kafka is back")
        elif batch.count:
            self._tally.not_written(batch.count)
            self._failures.note(batch.count, failure)
        batch.done.set_result(failure)

    async def _look_after_salts(self) -> None:
        interval_s = self._ingest.heartbeat_ms / 1000
        while True:
            self._failures.say()
            # Trouble that comes later must not stop heartbeats: without them the minutes of earlier events never close.
            if not self._topics.was_right:
                await asyncio.sleep(interval_s / 4)
                continue
            now_s = time.monotonic()
            for salt in range(self._salts):
                idle = self._open[salt] is None and self._pending[salt] == 0
                if idle and now_s - self._sent_at_s[salt] >= interval_s:
                    self._send(Batch(salt, self._loop.create_future()))
            await asyncio.sleep(interval_s / 4)

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(POLL_S)

    def _on_error(self, error: KafkaError) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._note_error, error)

    def _note_error(self, error: KafkaError) -> None:
        if error.fatal():
            LOG.error("ends after a fatal error and must be started again", error=str(error))
            # After a fatal error an idempotent producer refuses everything; a new process has a new producer.
            signal.raise_signal(signal.SIGTERM)
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the client's own public name for it
            if not self._down:
                LOG.warning("kafka is away", error=str(error))
            self._down = True


def _say_failed(batches: int, events: int, reason: str) -> None:
    LOG.warning("writes failed", batches=batches, events=events, reason=reason)


async def settled(shares: Sequence[Share], timeout_s: float | None = None) -> None:
    """Return when all batches of these shares are done, or after a time. Whoever is cancelled here cancels no batch.

    It does what asyncio.wait does, with one counter for all: a body has up to a batch for each salt.
    """
    waiting = [share.done for share in shares if not share.done.done()]
    if not waiting:
        return
    loop = asyncio.get_running_loop()
    all_done = loop.create_future()
    left = len(waiting)

    def end() -> None:
        if not all_done.done():
            all_done.set_result(None)

    def one_done(_future: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            end()

    for future in waiting:
        future.add_done_callback(one_done)
    tick = None if timeout_s is None else loop.call_later(timeout_s, end)
    try:
        await all_done
    finally:
        if tick is not None:
            tick.cancel()


def failures(shares: Sequence[Share]) -> list[tuple[int, str]]:
    """(index, reason) of every event whose batch has failed or is not done yet, in the order of the body."""
    found = [
        (index, reason)
        for done, places, _ in shares
        if (reason := done.result() if done.done() else NOT_IN_TIME)
        for index in places
    ]
    return sorted(found)


def acknowledged_batches(shares: Sequence[Share]) -> list[str]:
    """The `batch_id` in hex of each batch that Kafka has acknowledged."""
    written = (share for share in shares if share.batch_id and share.done.done() and share.done.result() is None)
    return sorted({share.batch_id.hex() for share in written})
