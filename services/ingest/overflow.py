"""Stores events in the object store while Kafka does not take them. Knows no HTTP and no Kafka.

Events of all requests gather in one object, for a second or until it is large. Whoever handed them over waits until the
object is durable. Everything but the request to the store runs on the event loop, so nothing here needs a lock.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import structlog

from services.ingest.packing import Packed
from services.ingest.tally import IngestTally
from settings import OverflowSettings
from udfs.logic.overflow.object_file import encode, warm_up
from udfs.logic.overflow.object_name import Destination, ObjectName

LOG = structlog.get_logger("ingest")
THREADS = 4
# After a failure, events are refused for so long. The next object then shows whether the store is back.
FAILED_S = 3.0

Put = Callable[[ObjectName, bytes], None]


@dataclass(eq=False, slots=True)
class _Open:
    """An object that gathers events. `done` gets the reason why it was not stored, or None."""

    destination: Destination
    done: asyncio.Future[str | None]
    tick: asyncio.TimerHandle | None = None
    blocks: list[bytes] = field(default_factory=list)
    count: int = 0
    size: int = 0


class Overflow:
    """Stores events. `put` stores an object, and blocks until it is durable; it may raise anything.

    `tell` is called with the name of each object that is durable. It may block for a moment, and raises nothing.

    Call `start` before the first call of `store`, and `stop` before the loop ends.
    """

    def __init__(
        self,
        settings: OverflowSettings,
        put: Put,
        *,
        producer_id: str,
        tally: IngestTally,
        tell: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._settings = settings
        self._put = put
        self._tell = tell
        self._producer_id = producer_id
        self._tally = tally
        self._open: dict[Destination, _Open] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(THREADS, "overflow")
        self._teller = ThreadPoolExecutor(1, "overflow-notices")
        self._telling: Future[None] | None = None
        self._sequence = 0
        self._held_bytes = 0
        self._failed: tuple[float, str] | None = None
        tally.overflow_bytes.set_function(lambda: self._held_bytes)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be stored now; None if it can."""
        if self._failed is None:
            return None
        at_s, reason = self._failed
        return reason if time.monotonic() - at_s < FAILED_S else None

    async def store(
        self, packed: Packed, indexes: Collection[int] | None = None, destination: Destination = Destination.EVENTS
    ) -> str | None:
        """Store those of the events that have these indexes, or all of them. Return when they are durable.

        The result is None then, and otherwise the reason why they are not.
        """
        if self.trouble is not None:
            return self.trouble
        blocks, count = _chosen(packed, indexes)
        size = sum(map(len, blocks))
        if self._held_bytes + size > self._settings.held_bytes_max:
            return f"{self._held_bytes} bytes of events wait for the object store, as many as may"
        there = self._open.get(destination)
        if there is not None and there.size + size > self._settings.object_bytes_max:
            self._flush(there)
            there = None
        if there is None:
            loop = asyncio.get_running_loop()
            there = self._open[destination] = _Open(destination, loop.create_future())
            there.tick = loop.call_later(self._settings.object_ms / 1000, self._flush, there)
        there.blocks += blocks
        there.count += count
        there.size += size
        self._held_bytes += size
        if there.size >= self._settings.object_bytes_max:
            self._flush(there)
        # Whoever is cancelled here cancels no object of others.
        failure = await asyncio.shield(there.done)
        if failure is None:
            self._tally.stored(count)
        return failure

    async def start(self) -> None:
        """Load what the first object needs, since it comes when requests are waiting."""
        await asyncio.to_thread(warm_up)

    async def stop(self) -> None:
        """Store what waits, and return when that is done or has failed."""
        for one in list(self._open.values()):
            self._flush(one)
        if self._writing:
            await asyncio.wait(self._writing)
        self._threads.shutdown(wait=False)
        self._teller.shutdown(wait=False, cancel_futures=True)

    def _flush(self, one: _Open) -> None:
        if self._open.get(one.destination) is not one:
            return
        del self._open[one.destination]
        if one.tick is not None:
            one.tick.cancel()
        task = asyncio.create_task(self._write(one))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, one: _Open) -> None:
        self._sequence += 1
        sequence, made_ms = self._sequence, time.time_ns() // 1_000_000

        def stored() -> str:
            name, content = encode(
                one.blocks,
                one.count,
                made_ms=made_ms,
                producer_id=self._producer_id,
                sequence=sequence,
                destination=one.destination,
            )
            self._put(name, content)
            return name.text

        failure: str | None = None
        try:
            name = await asyncio.get_running_loop().run_in_executor(self._threads, stored)
        # The store's client raises errors of several libraries. All mean that nobody may rely on the object.
        except Exception as error:
            failure = f"overflow: {type(error).__name__}: {error}"
            if self.trouble is None:
                LOG.warning("overflow failed", events=one.count, reason=failure)
            self._failed = time.monotonic(), failure
        else:
            if self._failed is not None:
                LOG.info("overflow is back")
            self._failed = None
            # Nobody waits for a hint. While one is not told yet, the next ones are not told at all.
            if self._telling is None or self._telling.done():
                self._telling = self._teller.submit(self._tell, name)
        self._held_bytes -= one.size
        one.done.set_result(failure)


def _chosen(packed: Packed, indexes: Collection[int] | None) -> tuple[list[bytes], int]:
    """The bytes of those events that have these indexes, or of all, and how many they are."""
    if indexes is None:
        return [block for block in packed.blocks if block], packed.count
    chosen = frozenset(indexes)
    blocks: list[bytes] = []
    count = 0
    for block, ends, places in zip(packed.blocks, packed.ends, packed.indexes, strict=True):
        if not places:
            continue
        if chosen.issuperset(places):
            blocks.append(block)
            count += len(places)
            continue
        for index, (start, end) in zip(places, pairwise([0, *ends]), strict=True):
            if index in chosen:
                blocks.append(block[start:end])
                count += 1
    return blocks, count
