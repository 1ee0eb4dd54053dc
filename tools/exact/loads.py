"""The two loads, and the counts that each must have: over HTTP in real time, or directly to a topic with own times."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter

import numpy as np
import numpy.typing as npt

from settings import CountingSettings
from tools.exact.turns import Turns
from tools.load import Fate, HttpSender, KafkaSender, Plan, Prediction, Traffic, TrafficSource
from tools.load import Rules as LoadRules
from tools.load.http import HttpTally
from tools.load.malformed import bad_records, foreign_records
from tools.load.prediction import Cells, cells
from tools.load.traffic import HOUR_MS, MINUTE_MS

WAIT_S = 0.2
HEARTBEAT_S = 1.0
HTTP_BLOCK_EVENTS = 5000
CREATETIME_BLOCK_EVENTS = 4000
EVENTS_PER_BATCH = 500
BAD_EVERY_BODIES = 20
STEP_BACK_MAX_MS = 30_000
STEP_BACK_SHARE = 0.1
# The events end this long before the wall clock, because a broker refuses timestamps far ahead of its own clock.
MARGIN_MS = 10 * MINUTE_MS


class Load(ABC):
    """A load. It sends its events once, and then knows which of them must have been counted."""

    def __init__(self, traffic: Traffic, events: int, events_per_second: float) -> None:
        self.source = TrafficSource(traffic)
        self._events = events
        self._events_per_second = events_per_second
        self.bad_records = Counter[str]()

    @abstractmethod
    def send(self, turns: Turns) -> None:
        """Send everything, in turns with the kills."""

    @abstractmethod
    def counted(self) -> npt.NDArray[np.bool_]:
        """bool[n]: whether each event, in the order in which they were made, must be counted once."""

    def expected_cells(self) -> Cells:
        """The views that must be counted, by (video, kind, minute since 1970)."""
        return cells(self.source.events[self.counted()], self.source.videos)

    def expected_ids(self) -> npt.NDArray[np.void]:
        """The sorted ids of the events that must be counted, each as often as it must be."""
        return sorted_ids(self.source.ids(self.source.events["origin"][self.counted()]).tobytes())

    def sent_ids(self) -> set[bytes]:
        """Every id that was sent and acknowledged."""
        raw = self.source.ids(np.unique(self.source.events["origin"])).tobytes()
        return {raw[at : at + 16] for at in range(0, len(raw), 16)}

    def _send_bad_records(self, sender: KafkaSender, salt: int, now_ms: int, prediction: Prediction | None) -> None:
        salts = self.source.traffic.salts
        for bad in bad_records(salt, salts, now_ms):
            sender.send(salt, bad.value, timestamp_ms=now_ms, key=bad.key)
            if prediction is not None:
                prediction.record(salt, now_ms, unreadable=not bad.events, dead_lettered=bad.events)
            self.bad_records["bad_events" if bad.events else "unreadable"] += 1
        for bad in foreign_records(salt, salts, now_ms):
            sender.send(salt, bad.value, timestamp_ms=now_ms, key=bad.key)
            self.bad_records["unreadable"] += 1


class HttpLoad(Load):
    """Events over HTTP, with the broker's timestamps. None is near a limit of a rule, so the plan says what counts."""

    def __init__(
        self, url: str, sender: KafkaSender, *, events: int, events_per_second: float, traffic: Traffic
    ) -> None:
        super().__init__(traffic, events, events_per_second)
        self._url = url
        self._sender = sender
        self.tally = HttpTally()

    def send(self, turns: Turns) -> None:
        """See Load. Raises NotAcknowledgedError."""
        asyncio.run(self._send(turns))

    def counted(self) -> npt.NDArray[np.bool_]:
        """See Load."""
        is_fresh: npt.NDArray[np.bool_] = self.source.events["plan"] == Plan.FRESH
        return is_fresh

    async def _send(self, turns: Turns) -> None:
        started_at = time.monotonic()
        sent = 0
        held_s = 0.0
        salts = self.source.traffic.salts
        async with HttpSender(self._url, self.source.videos, bad_every=BAD_EVERY_BODIES) as sender:
            self.tally = sender.tally
            while sent < self._events:
                wait_from = time.monotonic()
                while not turns.may_send():
                    await asyncio.sleep(WAIT_S)
                held_s += time.monotonic() - wait_from
                n = min(HTTP_BLOCK_EVENTS, self._events - sent)
                now_ms = time.time_ns() // 1_000_000
                block = self.source.block(n, now_ms)
                if sent // HTTP_BLOCK_EVENTS < salts:
                    self._send_bad_records(self._sender, sent // HTTP_BLOCK_EVENTS, now_ms, None)
                await sender.send_block(block)
                sent += n
                turns.sent(sent)
                ahead_s = sent / self._events_per_second - (time.monotonic() - started_at - held_s)
                await asyncio.sleep(max(0.0, ahead_s))
        await asyncio.to_thread(self._sender.flush)


class CreateTimeLoad(Load):
    """Events written directly to a CreateTime topic: hours of event time in minutes, and at every limit of the rules.

    The fate of each event is predicted.
    """

    def __init__(
        self,
        sender: KafkaSender,
        *,
        events: int,
        events_per_second: float,
        span_ms: int,
        rules: LoadRules,
        traffic: Traffic,
    ) -> None:
        super().__init__(traffic, events, events_per_second)
        self._sender = sender
        self._span_ms = span_ms
        self.prediction = Prediction(rules, self.source.videos, good_videos=traffic.videos)
        self._rng = np.random.default_rng(traffic.seed + 1)

    def send(self, turns: Turns) -> None:
        """See Load. Ends with heartbeats that are late enough to close every minute."""
        rules = self.prediction.rules
        rest_ms = rules.lateness_ms + 2 * MINUTE_MS
        start_ms = time.time_ns() // 1_000_000 - self._span_ms - rest_ms - MARGIN_MS
        started_at = time.monotonic()
        sent = 0
        held_s = 0.0
        now_ms = start_ms
        while sent < self._events:
            wait_from = time.monotonic()
            while not turns.may_send():
                # Event time stands still in the meantime. With heartbeats the job still has something to read.
                self._sender.heartbeats(now_ms, self.prediction)
                time.sleep(HEARTBEAT_S)
            held_s += time.monotonic() - wait_from
            n = min(CREATETIME_BLOCK_EVENTS, self._events - sent)
            now_ms = start_ms + self._span_ms * (sent + n) // self._events
            self._send_block(n, now_ms)
            if sent // CREATETIME_BLOCK_EVENTS < rules.salts:
                self._send_bad_records(self._sender, sent // CREATETIME_BLOCK_EVENTS, now_ms, self.prediction)
            sent += n
            turns.sent(sent)
            ahead_s = sent / self._events_per_second - (time.monotonic() - started_at - held_s)
            time.sleep(max(0.0, ahead_s))
        self._sender.heartbeats(now_ms + rest_ms, self.prediction)
        self._sender.flush()

    def counted(self) -> npt.NDArray[np.bool_]:
        """See Load."""
        is_counted: npt.NDArray[np.bool_] = self.prediction.fates == Fate.COUNTED
        return is_counted

    def _send_block(self, n: int, now_ms: int) -> None:
        salts = self.source.traffic.salts
        block = self.source.block(n, now_ms)
        back = self._rng.integers(0, STEP_BACK_MAX_MS, salts) * (self._rng.random(salts) < STEP_BACK_SHARE)
        self._sender.send_block(
            block,
            self.source.videos,
            events_per_batch=EVENTS_PER_BATCH,
            timestamps_ms=now_ms - back,
            prediction=self.prediction,
        )
        self._sender.heartbeats(now_ms, self.prediction)


def http_traffic(seed: int, videos: int, salts: int) -> Traffic:
    """Traffic that is minutes away from every limit of the rules: up to 4 min old, an hour late, or a day ahead.

    No repeat has another time than its original. Of two such events the first in the topic counts, and that may be the
    one that was acknowledged last: the other was in overflow meanwhile.
    """
    return Traffic(seed=seed, videos=videos, salts=salts, restamped_share=0.0)


def createtime_load(
    sender: KafkaSender,
    rules: CountingSettings,
    *,
    events: int,
    events_per_second: float,
    videos: int,
    span_ms: int,
    seed: int,
) -> CreateTimeLoad:
    """A load of `span_ms` of event time, whose fates are predicted by these rules."""
    return CreateTimeLoad(
        sender,
        events=events,
        events_per_second=events_per_second,
        span_ms=span_ms,
        rules=LoadRules(rules.salts, rules.lateness_ms, rules.future_skew_ms, rules.generation_ms),
        traffic=_createtime_traffic(seed, videos, rules.salts, rules.lateness_ms, span_ms),
    )


def _createtime_traffic(seed: int, videos: int, salts: int, lateness_ms: int, span_ms: int) -> Traffic:
    """Traffic with events on both sides of every limit of the rules. Repeats come at any time, some with new times."""
    return Traffic(
        seed=seed,
        videos=videos,
        salts=salts,
        disorder_ms=lateness_ms + 3 * MINUTE_MS // 2,
        late_share=0.005,
        late_ms=lateness_ms,
        future_share=0.002,
        future_ms=0,
        bad_share=0.001,
        restamped_share=0.3,
        restamp_age_max_ms=max(span_ms, HOUR_MS),
        delayed_share=0.4,
    )


def sorted_ids(raw: bytes | bytearray) -> npt.NDArray[np.void]:
    """The 16-byte ids in `raw`, sorted by their bytes."""
    halves = np.frombuffer(raw, [("high", ">u8"), ("low", ">u8")])
    order = np.lexsort((halves["low"], halves["high"]))
    found: npt.NDArray[np.void] = halves[order]
    return found
