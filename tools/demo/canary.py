"""Measures freshness: sends one event a second, and measures the time from its acknowledgement to its visible count.

It is a client like any other: it knows only the addresses of ingest and of the query service.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Self

import httpx2

from tools.demo.sources import AWAY, HTTP_TIMEOUT_S, views

INTERVAL_S = 1.0
POLL_S = 0.1
# A view that is not visible after this time is given up, and the next view goes to another video.
PATIENCE_S = 120.0
SAMPLES = 300


class Freshness(NamedTuple):
    """Seconds from an event's acknowledgement to its visible count, over the last few hundred events."""

    last_s: float
    median_s: float
    p99_s: float

    @classmethod
    def of(cls, samples_s: Sequence[float]) -> Self | None:
        """The freshness of samples, which are in order of time; None if there are none."""
        if not samples_s:
            return None
        ordered = sorted(samples_s)
        return cls(samples_s[-1], ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)])


class Canary:
    """Measures from `start` until `stopping` is set, in a thread of its own."""

    def __init__(self, ingest_url: str, query_url: str, stopping: threading.Event) -> None:
        self._ingest = httpx2.Client(base_url=ingest_url, timeout=HTTP_TIMEOUT_S, trust_env=False)
        self._query = httpx2.Client(base_url=query_url, timeout=HTTP_TIMEOUT_S, trust_env=False)
        self._stopping = stopping
        self._samples_s: deque[float] = deque(maxlen=SAMPLES)
        self._acknowledged_at_s: float | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0
        self.accepted = 0
        # When the first count was visible, in seconds since 1970.
        self.first_visible_at_s: float | None = None

    def start(self) -> None:
        """Begin to send. Returns at once."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended, and close the clients. Set `stopping` first."""
        self._thread.join()
        self._ingest.close()
        self._query.close()

    @property
    def freshness(self) -> Freshness | None:
        """The freshness of the last events; None before the first visible count."""
        return Freshness.of(list(self._samples_s))

    @property
    def waiting_s(self) -> float:
        """For how long the current view has been acknowledged and not visible; 0 if there is none."""
        since_s = self._acknowledged_at_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def _run(self) -> None:
        video, sent = _new_video(), 0
        while not self._stopping.is_set():
            started_s = time.monotonic()
            sent += 1
            # After a failure it is unknown whether the event was written, so the next goes to another video.
            if not (self._send(video) and self._seen(video, sent)):
                video, sent = _new_video(), 0
            self._stopping.wait(max(0.0, INTERVAL_S - (time.monotonic() - started_s)))

    def _send(self, video: str) -> bool:
        viewed_at = datetime.now(UTC).isoformat()
        event = {"event_id": str(uuid.uuid4()), "video_id": video, "viewed_at": viewed_at}
        self.sent += 1
        try:
            response = self._ingest.post("/v1/events", json={"events": [event]})
        except httpx2.HTTPError:
            return False
        if response.status_code != httpx2.codes.ACCEPTED:
            return False
        self.accepted += 1
        return True

    def _seen(self, video: str, number: int) -> bool:
        acknowledged_at_s = self._acknowledged_at_s = time.monotonic()
        try:
            while not self._stopping.is_set() and time.monotonic() - acknowledged_at_s < PATIENCE_S:
                try:
                    is_visible = views(self._query, video)["views"] >= number
                except AWAY:
                    is_visible = False
                if is_visible:
                    self._samples_s.append(time.monotonic() - acknowledged_at_s)
                    self.first_visible_at_s = self.first_visible_at_s or time.time()
                    return True
                self._stopping.wait(POLL_S)
            return False
        finally:
            self._acknowledged_at_s = None


def _new_video() -> str:
    return f"canary-{uuid.uuid4().hex[:12]}"
