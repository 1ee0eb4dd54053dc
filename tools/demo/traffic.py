"""The demo's traffic: events of the load generator, sent over HTTP at a steady rate without an end."""

import asyncio
import contextlib
import threading
import time

from tools.load import HttpSender, NotAcknowledgedError, Traffic, TrafficSource

BODIES_PER_S = 4
# One body of so many has an event that ingest refuses.
BAD_EVERY = 20
LATE_SHARE = 0.01
TOP_VIDEOS = 8
# A source remembers all events that it made, so that it can repeat them; after this many a new source begins. Ids come
# from the seed, which is 24 bits of the clock, so the next source, and the next run, has other ids.
EVENTS_PER_SOURCE = 1_000_000
SEEDS = 1 << 24
# If the traffic is behind by more than this, because ingest was away, the missed events are left out.
BEHIND_MAX_S = 2.0
STOP_POLL_S = 0.1


class DemoTraffic:
    """Sends from `start` until `stopping` is set, in a thread of its own."""

    def __init__(self, ingest_url: str, events_per_second: int, salts: int, stopping: threading.Event) -> None:
        self._url = ingest_url
        self._events_per_second = events_per_second
        self._salts = salts
        self._stopping = stopping
        self._source = self._new_source()
        self._sender: HttpSender | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.sent = 0
        # A wrong answer of ingest; empty while all is well.
        self.trouble = ""

    @property
    def accepted(self) -> int:
        """Events that ingest acknowledged."""
        return self._sender.tally.acknowledged if self._sender else 0

    @property
    def refused(self) -> int:
        """Malformed events that ingest refused. They are sent in addition to those of `sent`."""
        return self._sender.tally.bad_events_refused if self._sender else 0

    @property
    def top_videos(self) -> list[str]:
        """The videos that are viewed most, by the distribution of the traffic."""
        return [name.decode() for name in self._source.videos.names[:TOP_VIDEOS]]

    @property
    def videos(self) -> list[str]:
        """Every video that is viewed."""
        return self._source.good_videos

    def start(self) -> None:
        """Begin to send. Returns at once."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended. Set `stopping` first; requests that are under way are cancelled."""
        self._thread.join()

    def _new_source(self) -> TrafficSource:
        return TrafficSource(Traffic(seed=int(time.time()) % SEEDS, salts=self._salts, late_share=LATE_SHARE))

    async def _run(self) -> None:
        async with HttpSender(self._url, self._source.videos, bad_every=BAD_EVERY, give_up_s=float("inf")) as sender:
            self._sender = sender
            sending = asyncio.create_task(self._send(sender))
            while not self._stopping.is_set():
                await asyncio.sleep(STOP_POLL_S)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending

    async def _send(self, sender: HttpSender) -> None:
        interval_s = 1 / BODIES_PER_S
        due_at_s = time.monotonic()
        due_events = 0.0
        while True:
            due_events += self._events_per_second * interval_s
            events = int(due_events)
            due_events -= events
            if events:
                if len(self._source.events) >= EVENTS_PER_SOURCE:
                    self._source = self._new_source()
                block = self._source.block(events, time.time_ns() // 1_000_000)
                self.sent += events
                try:
                    await sender.send_block(block)
                except* NotAcknowledgedError as errors:
                    self.trouble = str(errors.exceptions[0])
            due_at_s = max(due_at_s + interval_s, time.monotonic() - BEHIND_MAX_S)
            await asyncio.sleep(max(0.0, due_at_s - time.monotonic()))
