"""Predicts fates and counts from the sender's record alone, by a second implementation of the counting rules.

It needs the append time of every record. So it can predict each event's fate only if the sender sets the records'
timestamps (a CreateTime topic). If the broker sets them, only `TrafficSource` says which events are counted. It shares
no code with the job.
"""

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from tools.load import kernels
from tools.load.kernels import MINUTE_MS
from tools.load.traffic import EVENT, Block
from tools.load.vocabulary import KINDS, Names

Cells = dict[tuple[str, str, int], int]


@dataclass(frozen=True)
class Rules:
    """The settings of the rules, in ms, and the number of salts."""

    salts: int
    lateness_ms: int
    future_skew_ms: int
    generation_ms: int


class Fate(IntEnum):
    """The fate of an event."""

    COUNTED = kernels.COUNTED
    DUPLICATE = kernels.DUPLICATE
    LATE = kernels.LATE
    INVALID = kernels.INVALID
    DEAD_LETTERED = kernels.DEAD_LETTERED


class Prediction:
    """Predicts fates from the records, which must be noted in the order in which they are sent to each salt."""

    def __init__(self, rules: Rules, videos: Names, *, good_videos: int) -> None:
        self.rules = rules
        self._videos = videos
        self._good_videos = good_videos
        self._append_ms = np.full(rules.salts, -(1 << 62), np.int64)
        self._first_generation = np.full(1 << 16, kernels.NEVER, np.int64)
        self._fates = np.empty(1 << 16, np.uint8)
        self._used = 0
        # The predicted ledger by (minute of arrival, salt): events by fate, records, and unreadable records.
        self.ledger: dict[tuple[int, int], Counter[str]] = {}

    @property
    def fates(self) -> npt.NDArray[np.uint8]:
        """uint8[n]: the fate of every event sent so far, in the order in which events were made."""
        return self._fates[: self._used]

    @property
    def closed_through_ms(self) -> int:
        """The end of the last minute that is closed, in ms since 1970: every salt has passed it by the lateness."""
        return int((self._append_ms.min() - self.rules.lateness_ms) // MINUTE_MS * MINUTE_MS)

    def record(self, salt: int, timestamp_ms: int, *, unreadable: bool = False, dead_lettered: int = 0) -> None:
        """Note a record that was sent to this salt. `dead_lettered` is its number of events if all are bad."""
        if not unreadable:
            self._append_ms[salt] = max(int(self._append_ms[salt]), timestamp_ms)
        # An unreadable record does not move the append time. Before the first readable record there is none.
        tally = self.ledger.setdefault((max(int(self._append_ms[salt]), 0) // MINUTE_MS, salt), Counter())
        tally["records"] += 1
        tally["unreadable_records"] += unreadable
        tally["dead_lettered"] += dead_lettered
        tally["received"] += dead_lettered

    def events(self, block: Block) -> None:
        """Note the events of a block. They are in the records of their salts that were noted last."""
        end = block.first + len(block)
        if block.first != self._used:
            raise ValueError(f"block.first={block.first} follows {self._used} events: note every block, in order")
        if end > len(self._fates):
            self._fates = np.concatenate((self._fates, np.empty(max(end, len(self._fates)), np.uint8)))
            more = np.full(max(end, len(self._first_generation)), kernels.NEVER, np.int64)
            self._first_generation = np.concatenate((self._first_generation, more))
        self._used = end
        events, salt = block.events, block.salt
        rules = self.rules
        fates = self._fates[block.first : end]
        kernels.judge(
            fates, events["origin"], events["viewed_at_ms"], events["video"] >= self._good_videos,
            self._append_ms[salt], self._first_generation, rules.lateness_ms, rules.future_skew_ms,
            rules.generation_ms,
        )  # fmt: skip
        kinds = len(Fate)
        sums = np.bincount(salt.astype(np.int64) * kinds + fates, minlength=rules.salts * kinds).reshape(-1, kinds)
        for place in np.unique(salt).tolist():
            tally = self.ledger[int(self._append_ms[place]) // MINUTE_MS, place]
            tally["received"] += int(sums[place].sum())
            for fate in Fate:
                tally[fate.name.lower()] += int(sums[place][fate])


def cells(events: npt.NDArray[np.void], videos: Names) -> Cells:
    """The views by (video, kind, minute since 1970) if each of these events (EVENT[n]) is counted once."""
    assert events.dtype == EVENT
    if not len(events):
        return {}
    minutes = events["viewed_at_ms"] // MINUTE_MS
    first = int(minutes.min())
    pairs = len(videos.names) * len(KINDS)
    key = (minutes - first) * pairs + events["video"].astype(np.int64) * len(KINDS) + events["kind"]
    found, counts = np.unique(key, return_counts=True)
    kinds = [kind.decode() for kind in KINDS]
    counted = {}
    for place, count in zip(found.tolist(), counts.tolist(), strict=True):
        minute, pair = divmod(place, pairs)
        video, kind = divmod(pair, len(KINDS))
        counted[videos.names[video].decode(), kinds[kind], first + minute] = count
    return counted
