"""The client: takes views from any thread, and sends them in a thread of its own.

Each process has its own queue and thread. They begin with its first view, so that a child of fork begins anew.
"""

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import UUID

from view_counts_client import exits
from view_counts_client.clock import Clock, Stamp
from view_counts_client.endpoints import BreakerRules, Endpoints, State
from view_counts_client.events import VIEW, check_ids, other_fields, own_id, own_time_ms
from view_counts_client.happenings import Counts, Dropped, Listener, Telling
from view_counts_client.ids import Ids
from view_counts_client.memory import Bounds, MemoryQueue
from view_counts_client.options import DEFAULTS, Options, checked_endpoints
from view_counts_client.retry import Backoff, RetryBudget
from view_counts_client.sender import Policy, Remaining, Sender
from view_counts_client.spool.full import QueueThenSpool
from view_counts_client.spool.log import Fsync
from view_counts_client.spool.source import Spool, SpoolRules
from view_counts_client.transport import HttpTransport, Timeouts
from view_counts_client.version import VERSION

if TYPE_CHECKING:
    from view_counts_client.testing import TestingClient

LOG = logging.getLogger("view_counts_client")
# How often a flush looks whether all is sent.
FLUSH_POLL_S = 0.005


class QueueFullError(Exception):
    """There is no room for the event, which was not taken."""


class SpoolError(Exception):
    """The spool could not be written, so that the event was not taken, or could not be opened."""


class ClosedError(Exception):
    """The client is closed, so that the event was not taken."""


class Client:
    """Counts views. `view` returns at once; the client sends, and sends again what was not acknowledged.

    With a spool, a folder on a local disk, an event is on disk when `view` returns, and a process that is killed loses
    none. Without one, what waits is lost with the process: at most the queue and one batch.
    """

    def __init__(
        self,
        endpoints: str | list[str] | tuple[str, ...],
        *,
        key: str | None = None,
        spool: Path | str | None = None,
        options: Options = DEFAULTS,
        listener: Listener | None = None,
    ) -> None:
        self._urls = checked_endpoints(endpoints)
        self._headers = {"user-agent": f"view-counts-client/{VERSION}"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"
        self._options = options
        self._spool = None if spool is None else Path(spool)
        self._listener = listener
        self._is_closed = False
        self._begin()
        self._open()
        exits.watch(self)
        if options.flush_on_sigterm:
            exits.install_sigterm()

    @staticmethod
    def testing() -> "TestingClient":
        """A client for tests: it records events and touches no network."""
        from view_counts_client.testing import TestingClient  # noqa: PLC0415 - programs that test nothing need none

        return TestingClient()

    def view(
        self,
        video_id: str,
        *,
        viewer_id: str | None = None,
        kind: str = VIEW,
        country: str | None = None,
        device: str | None = None,
        user_agent: str | None = None,
        viewed_at: datetime | int | None = None,
        event_id: UUID | str | None = None,
    ) -> None:
        """Count a view, or an event of another kind. Its id and time are made here, unless you give your own.

        Raises TypeError or ValueError for what the service would never take, QueueFullError if there is no room for
        `block_max_s`, and ClosedError.
        """
        block_s = self._options.block_max_s
        is_own = viewed_at is not None or event_id is not None
        # Nearly all views have nothing but a viewer.
        if not is_own and kind == VIEW and country is None and device is None and user_agent is None:
            check_ids(video_id, viewer_id)
            is_taken = self._put(video_id, viewer_id, "", None, block_s)
        else:
            is_taken = self.offer(
                video_id, viewer_id, kind, country, device, user_agent, viewed_at, event_id, block_s=block_s
            )
        if not is_taken:
            self.full()

    def offer(
        self,
        video_id: str,
        viewer_id: str | None,
        kind: str,
        country: str | None,
        device: str | None,
        user_agent: str | None,
        viewed_at: datetime | int | None,
        event_id: UUID | str | None,
        *,
        block_s: float,
    ) -> bool:
        """Do what `view` does, but wait for room for this long, and return False if there is none."""
        check_ids(video_id, viewer_id)
        others = ""
        if kind != VIEW or country is not None or device is not None or user_agent is not None:
            others = other_fields(kind, country, device, user_agent)
        stamp = None
        if event_id is not None or viewed_at is not None:
            stamp = self._own(viewed_at, event_id)
        return self._put(video_id, viewer_id, others, stamp, block_s)

    def _put(self, video_id: str, viewer_id: str | None, others: str, stamp: Stamp | None, block_s: float) -> bool:
        if self._is_closed:
            raise ClosedError("the client is closed: make another one")
        try:
            return self._queue.put(video_id, viewer_id, others, stamp, block_s)
        except OSError as error:
            if not self._options.drop_when_full:
                raise self._spool_error(error, "the event was not taken; make room or mend the disk") from error
            LOG.warning("the spool could not be written: %s", error)
            return False

    def full(self) -> None:
        """An event has found no room: drop it if that is allowed. Otherwise raises QueueFullError."""
        options = self._options
        if not options.drop_when_full:
            bound = f"queue_events_max={options.queue_events_max}, queue_bytes_max={options.queue_bytes_max}"
            if self._spool is not None:
                bound = f"spool_bytes_max={options.spool_bytes_max}"
            raise QueueFullError(
                f"{bound}: there was no room for {options.block_max_s:g} s, so that the event was not taken, because "
                "the service is away or too slow: try later, or set drop_when_full"
            )
        with self._changing:
            self._tell(Dropped(1))

    def flush(self, timeout_s: float | None = None) -> Remaining:
        """Send what waits now, without waiting for full batches. Returns when nothing is in flight, or what remains."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self.hurrying():
            while (remaining := self.remaining()) and (until_s is None or time.monotonic() < until_s):
                time.sleep(FLUSH_POLL_S)
        return remaining

    @contextlib.contextmanager
    def hurrying(self) -> Iterator[None]:
        """Meanwhile, nothing waits until a batch is full."""
        with self._changing:
            self._hurry += 1
        self._wake_up()
        try:
            yield
        finally:
            with self._changing:
                self._hurry -= 1

    def remaining(self) -> Remaining:
        """What is not settled now."""
        return self._sender.remaining()

    @property
    def counts(self) -> Counts:
        """What became of the events of this process so far."""
        return replace(self._tell.counts, viewed=self._queue.put_events)

    def endpoints(self) -> dict[str, State]:
        """The breaker of each endpoint."""
        return self._endpoints.states()

    def close(self, timeout_s: float | None = None) -> Remaining:
        """Take no further views, flush, and end the thread. Returns what remains, which is lost."""
        if self._is_closed:
            return self.remaining()
        self._is_closed = True
        remaining = self.flush(self._options.exit_flush_s if timeout_s is None else timeout_s)
        exits.unwatch(self)
        self._stop()
        self._left(remaining)
        if self._is_stopped and not isinstance(self._queue, MemoryQueue):
            self._queue.close()
        return remaining

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def forked(self) -> None:
        """In a child of fork: begin anew. What waited in the parent is the parent's to send."""
        self._queue.abandon()
        self._begin()

    def end(self) -> None:
        """The process ends."""
        if self._thread is not None:
            self._left(self.flush(self._options.exit_flush_s))

    def _left(self, remaining: Remaining) -> None:
        """Keep what remains at the end if there is a spool, and say what becomes of it."""
        if not remaining:
            return
        if isinstance(self._queue, MemoryQueue):
            LOG.error("%d events were not acknowledged at the end, and are lost", remaining.events)
            return
        self._queue.keep(self._sender.unsettled())
        LOG.warning("%d events lie in %s, and are sent by the next process with it", remaining.events, self._spool)

    def _begin(self) -> None:
        options = self._options
        self._hurry = 0
        self._thread: threading.Thread | None = None
        self._changing = threading.Lock()
        self._stopping = False
        self._is_stopped = False
        self._wake = threading.Event()
        self._tell = Telling(self._listener)
        clock = Clock() if options.correct_clock else Clock(time.time_ns, time.time_ns, known=True)
        ids = self._ids = Ids()
        backoff = Backoff(options.backoff_first_s, options.backoff_most_s)
        bounds = Bounds(
            options.queue_events_max,
            options.queue_bytes_max,
            options.batch_events_max,
            options.batch_bytes_max,
            options.batch_age_max_s,
        )
        self._queue = self._source(bounds, backoff, clock, ids)
        rules = BreakerRules(options.breaker_failures, options.breaker_first_s, options.breaker_most_s)
        # Many clients that begin at once do not begin with the same endpoint.
        self._endpoints = Endpoints(self._urls, rules, first=int.from_bytes(os.urandom(2), "big"))
        timeouts = Timeouts(options.connect_timeout_s, options.request_timeout_s, options.deadline_s)
        self._transport = HttpTransport(timeouts, proxy=options.proxy, ssl_context=options.ssl_context)
        self._sender = Sender(
            self._queue,
            self._endpoints,
            self._transport,
            headers=self._headers,
            policy=Policy(backoff, options.encoding, int(options.expire_after_s * 1000)),
            budget=RetryBudget(
                share=options.retry_share,
                per_s=options.retries_per_s,
                most=options.retries_most,
                now_s=time.monotonic(),
            ),
            clock=clock,
            ids=ids,
            tell=self._tell,
            now_s=time.monotonic,
            random=random.SystemRandom().random,
        )

    def _source(self, bounds: Bounds, backoff: Backoff, clock: Clock, ids: Ids) -> MemoryQueue | Spool | QueueThenSpool:
        options = self._options
        memory = MemoryQueue(bounds, backoff, clock, ids, time.monotonic, self._wake_up)
        if self._spool is None:
            return memory
        rules = SpoolRules(
            self._spool, options.spool_bytes_max, Fsync(options.spool_fsync), options.spool_fsync_interval_s
        )
        spool = Spool(rules, bounds, backoff, clock, ids, time.monotonic, self._wake_up)
        return spool if options.spool_when == "viewed" else QueueThenSpool(memory, spool, clock, ids)

    def _open(self) -> None:
        """Open the spool, and send what a former process has left in it."""
        if isinstance(self._queue, MemoryQueue):
            return
        try:
            self._queue.open()
        except OSError as error:
            raise self._spool_error(error, "name a folder on a local disk that this process may write") from error
        if self._queue.waiting():
            self._wake_up()

    def _spool_error(self, error: OSError, remedy: str) -> SpoolError:
        return SpoolError(f"spool={self._spool}: {error}: {remedy}")

    def _own(self, viewed_at: datetime | int | None, event_id: UUID | str | None) -> Stamp:
        if event_id is None:
            at_ms = own_time_ms(viewed_at, b"")
            return self._ids.make(at_ms), at_ms, False
        named = own_id(event_id)
        return named, own_time_ms(viewed_at, named), False

    def _wake_up(self) -> None:
        if self._thread is None:
            self._start()
        self._wake.set()

    def _start(self) -> None:
        with self._changing:
            if self._thread is None and not self._stopping:
                thread = threading.Thread(target=self._run, name="view-counts-sender", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    # The interpreter ends. What is viewed now waits for the flush at the end, or in the spool.
                    LOG.warning("the sender could not be started: %s", error)
                    return
                self._thread = thread
                if not isinstance(self._queue, MemoryQueue) and Fsync(self._options.spool_fsync) is Fsync.INTERVAL:
                    syncing = threading.Thread(
                        target=self._queue.sync_for_ever, name="view-counts-spool-sync", daemon=True
                    )
                    syncing.start()

    def _run(self) -> None:
        while not self._stopping:
            # Before the step, so that who wakes the thread while it looks is not missed.
            self._wake.clear()
            try:
                wait_s = self._sender.step(hurry=self._hurry > 0)
            except Exception:
                LOG.exception("the sender has failed and goes on")
                wait_s = 1.0
            if wait_s != 0:
                self._wake.wait(wait_s)

    def _stop(self) -> None:
        self._stopping = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._options.deadline_s)
        # Whoever still uses a file or a connection must not find another one under its number.
        self._is_stopped = thread is None or not thread.is_alive()
        if self._is_stopped:
            self._transport.close()
