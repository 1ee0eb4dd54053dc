"""Makes seeded traffic: which events are sent, in which order, and what each of them is meant to be.

The same settings and the same calls give the same events. Every event is kept, in 18 bytes, so that later events can
repeat it and the right counts can be computed from it. Knows no encoding and no clock.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import mmh3
import numpy as np
import numpy.typing as npt

from tools.load.vocabulary import BAD_VIDEOS, KINDS, Names, video_names

MINUTE_MS = 60_000
SECOND_MS = 1000
HOUR_MS = 60 * MINUTE_MS

EVENT = np.dtype([("origin", "<i4"), ("video", "<i4"), ("viewed_at_ms", "<i8"), ("kind", "u1"), ("plan", "u1")])


class Plan(IntEnum):
    """What an event is meant to be."""

    FRESH = 0
    LATE = 1
    FUTURE = 2
    BAD = 3
    REPEAT = 4
    RESTAMPED = 5


@dataclass(frozen=True)
class Traffic:
    """The properties of the traffic. Shares are shares of all events, except `restamped_share` and `delayed_share`.

    `videos` are drawn by Zipf's law, but a share of `hot_share` of the events is always of the first video. A fresh
    event was viewed up to `disorder_ms` before it is sent, a late event at least `late_ms` before, and an event of the
    future is at least `future_ms` ahead. A share of `bad_share` has a video_id that the job must refuse. A share of
    `duplicate_share` are repeats. Of these, `restamped_share` have a new time, if the original is fresh and not older
    than `restamp_age_max_ms`. The others are unchanged: most come soon after the original, and `delayed_share` at any
    time.
    """

    seed: int = 1
    salts: int = 16
    videos: int = 10_000
    zipf_exponent: float = 1.1
    hot_share: float = 0.0
    duplicate_share: float = 0.05
    restamped_share: float = 0.1
    restamp_age_max_ms: int = 5 * MINUTE_MS
    delayed_share: float = 0.2
    soon_events: int = 50_000
    late_share: float = 0.002
    late_ms: int = HOUR_MS
    future_share: float = 0.0005
    future_ms: int = 9 * MINUTE_MS
    bad_share: float = 0.0
    disorder_ms: int = 4 * MINUTE_MS
    other_kinds_share: float = 0.08


@dataclass(frozen=True)
class Block:
    """Events to send together. `events` (EVENT[n]) are those from place `first` on of all events made."""

    first: int
    events: npt.NDArray[np.void]
    ids: npt.NDArray[np.uint8]
    now_ms: int
    salts: int

    def __len__(self) -> int:
        return len(self.events)

    @cached_property
    def salt(self) -> npt.NDArray[np.int32]:
        """int32[n]: the salt of each event's id."""
        raw = self.ids.tobytes()
        hashes = [mmh3.hash(raw[at : at + 16], 0, False) for at in range(0, len(raw), 16)]
        return (np.array(hashes, np.uint32) % self.salts).astype(np.int32)


class TrafficSource:
    """Makes blocks of events, and keeps all events."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.videos: Names = video_names(traffic.videos)
        self._rng = np.random.default_rng(traffic.seed)
        self._events = np.empty(1 << 16, EVENT)
        self._sent_at_ms: list[tuple[int, int]] = []
        self._used = 0
        weights = np.arange(1, traffic.videos + 1, dtype=np.float64) ** -traffic.zipf_exponent
        law = np.cumsum(weights) / weights.sum()
        self._cumulative = traffic.hot_share + (1 - traffic.hot_share) * law

    @property
    def events(self) -> npt.NDArray[np.void]:
        """EVENT[n]: all events made so far, in order."""
        return self._events[: self._used]

    @property
    def good_videos(self) -> list[str]:
        """The videos that are counted. The other ones have names that the job refuses."""
        return [name.decode() for name in self.videos.names[: self.traffic.videos]]

    def ids(self, origins: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        """uint8[n, 16]: the ids of the events that were made at these places."""
        halves = np.empty((len(origins), 2), np.uint64)
        base = np.uint64(self.traffic.seed) << np.uint64(40)
        place = (origins.astype(np.uint64) + base) * np.uint64(2)
        halves[:, 0] = _mix(place)
        halves[:, 1] = _mix(place + np.uint64(1))
        return halves.view(np.uint8).reshape(-1, 16)

    def block(self, n: int, now_ms: int) -> Block:
        """Make the next n events, which are sent at `now_ms`. That time must not step back."""
        traffic, rng, first = self.traffic, self._rng, self._used
        self._reserve(n)
        events = self._events[first : first + n]
        plan = self._plans(n)
        events["origin"] = np.arange(first, first + n, dtype=np.int32)
        events["video"] = np.searchsorted(self._cumulative, rng.random(n), side="right").clip(0, traffic.videos - 1)
        kinds = np.zeros(n, np.uint8)
        other = rng.random(n) < traffic.other_kinds_share
        kinds[other] = rng.integers(1, len(KINDS), int(other.sum()), dtype=np.uint8)
        events["kind"] = kinds
        back = np.where(
            rng.random(n) < 0.5,
            rng.integers(0, min(2 * SECOND_MS, traffic.disorder_ms) + 1, n),
            rng.integers(0, traffic.disorder_ms + 1, n),
        )
        events["viewed_at_ms"] = now_ms - back
        late, future, bad = plan == Plan.LATE, plan == Plan.FUTURE, plan == Plan.BAD
        events["viewed_at_ms"][late] = now_ms - traffic.late_ms - rng.integers(0, HOUR_MS, int(late.sum()))
        events["viewed_at_ms"][future] = now_ms + traffic.future_ms + rng.integers(0, MINUTE_MS, int(future.sum()))
        events["video"][bad] = traffic.videos + rng.integers(0, len(BAD_VIDEOS), int(bad.sum()))
        events["plan"] = plan
        self._repeat(first, n, now_ms)
        self._used += n
        self._sent_at_ms.append((first, now_ms))
        return Block(first, events, self.ids(events["origin"]), now_ms, traffic.salts)

    def _plans(self, n: int) -> npt.NDArray[np.uint8]:
        traffic = self.traffic
        restamped = traffic.duplicate_share * traffic.restamped_share
        shares = (
            (Plan.LATE, traffic.late_share),
            (Plan.FUTURE, traffic.future_share),
            (Plan.BAD, traffic.bad_share),
            (Plan.REPEAT, traffic.duplicate_share - restamped),
            (Plan.RESTAMPED, restamped),
        )
        draw = self._rng.random(n)
        plan = np.full(n, Plan.FRESH, np.uint8)
        low = 0.0
        for kind, share in shares:
            plan[(draw >= low) & (draw < low + share)] = kind
            low += share
        return plan

    def _repeat(self, first: int, n: int, now_ms: int) -> None:
        """Turn planned repeats into repeats of earlier events, or into fresh events if there is nothing to repeat."""
        traffic, rng = self.traffic, self._rng
        events = self._events[first : first + n]
        places = np.nonzero(events["plan"] >= Plan.REPEAT)[0]
        if not len(places):
            return
        restamped = events["plan"][places] == Plan.RESTAMPED
        # Within a block a repeat must come after its original, and must not have a new time: several senders send one
        # block at the same time, and of two times of one id the job counts the one that arrives first.
        within = first + (rng.random(len(places)) * places).astype(np.int64)
        is_within = ~restamped & (rng.random(len(places)) < 0.3) & (self._events["plan"][within] < Plan.REPEAT)
        source = np.where(is_within, within, -1)
        oldest = self._first_since(now_ms - traffic.restamp_age_max_ms)
        if first:
            soon = rng.integers(max(0, first - traffic.soon_events), first, len(places))
            anywhere = rng.integers(0, first, len(places))
            before = np.where(rng.random(len(places)) < traffic.delayed_share, anywhere, soon)
            if oldest < first:
                before[restamped] = rng.integers(oldest, first, int(restamped.sum()))
            source = np.where(is_within, source, before)
        found = source >= 0
        origin = self._events["origin"][source.clip(0)]
        original = self._events[origin]
        restamped &= found & (original["plan"] == Plan.FRESH) & (origin >= oldest)
        lost = ~found
        events["plan"][places[lost]] = Plan.FRESH
        kept = places[found]
        own_time = events["viewed_at_ms"][kept].copy()
        for name in ("origin", "video", "kind", "viewed_at_ms"):
            events[name][kept] = original[name][found]
        events["plan"][kept] = Plan.REPEAT
        again = restamped[found]
        events["viewed_at_ms"][kept[again]] = own_time[again]
        events["plan"][kept[again]] = Plan.RESTAMPED

    def _first_since(self, at_ms: int) -> int:
        """The place of the first event sent at this time or later, or the number of events if there is none."""
        low, high = 0, len(self._sent_at_ms)
        while low < high:
            middle = (low + high) // 2
            if self._sent_at_ms[middle][1] < at_ms:
                low = middle + 1
            else:
                high = middle
        return self._sent_at_ms[low][0] if low < len(self._sent_at_ms) else self._used

    def _reserve(self, n: int) -> None:
        if self._used + n > len(self._events):
            larger = np.empty(max(2 * len(self._events), self._used + n), EVENT)
            larger[: self._used] = self._events[: self._used]
            self._events = larger


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea, Flood 2014) of each number. Different inputs give different outputs."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
