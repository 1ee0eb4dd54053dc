"""The rules of counting, written as simply as possible, and applied to the records of a topic one by one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mmh3

from tools.recount.avro import UnreadableError, read

MINUTE_MS = 60_000
# 2000-01-01.
TIMES_BEGIN_MS = 946_684_800_000
# The limits of the product, said once more: whoever judges says what is right.
VIDEO_ID_BYTES_MAX = 64
KIND_BYTES_MAX = 32
FATES = ("counted", "duplicate", "late", "invalid", "blocked", "dead_lettered")

Cell = tuple[str, str, int]
Place = tuple[int, int, int]
# The periods (from, until) by viewer_id, in append time in ms. An `until` of None means for good.
Blocked = Mapping[bytes, Sequence[tuple[int, int | None]]]


@dataclass(frozen=True)
class Rules:
    """The numbers with which the product was configured. Times are in ms."""

    salts: int = 16
    partitions: int = 4
    lateness_ms: int = 10 * MINUTE_MS
    future_skew_ms: int = MINUTE_MS
    generation_ms: int = 12 * MINUTE_MS
    clock_ahead_ms: int = 10 * MINUTE_MS


class Recount:
    """Counts records. Give it every record, each partition in the order of its offsets. Its attributes have the result.

    `cells` are views by (video, kind, minute since 1970). `ledger` has the numbers by (minute of arrival, salt), where
    the salt -1 - partition stands for records without a salt of their partition. `late` and `dead` are the events by
    (partition, offset, index), or whole values with index -1. `counted_ids` are the ids, 16 bytes each.
    """

    def __init__(self, rules: Rules, blocked: Blocked | None = None) -> None:
        self.rules = rules
        self._blocked = blocked or {}
        self.cells: Counter[Cell] = Counter()
        self.ledger: dict[tuple[int, int], Counter[str]] = {}
        self.late: dict[Place, Any] = {}
        self.dead: dict[Place, Any] = {}
        self.counted_ids = bytearray()
        self.received_ids: set[bytes] = set()
        self._append_ms: dict[int, int] = {}
        self._first_generation: dict[bytes, int] = {}

    @property
    def closed_through_ms(self) -> int | None:
        """The end in ms of the last minute that all salts have passed by the lateness; None until all have records."""
        known = [self._append_ms[salt] for salt in range(self.rules.salts) if salt in self._append_ms]
        if len(known) < self.rules.salts:
            return None
        return (min(known) - self.rules.lateness_ms) // MINUTE_MS * MINUTE_MS

    def record(self, partition: int, offset: int, timestamp_ms: int, key: bytes | None, value: bytes | None) -> None:
        """Count one Kafka record."""
        value = value or b""
        salt = int.from_bytes(key, "big") if key is not None and len(key) == 4 else -1
        if not 0 <= salt < self.rules.salts or salt % self.rules.partitions != partition:
            # The record has no salt. Each partition has a ledger row of its own for such records.
            salt = -1 - partition
        try:
            batch = read("ViewBatch", value)
        except UnreadableError:
            batch = None
        if batch is not None and (batch["salts"] != self.rules.salts or batch["salt"] != salt or salt < 0):
            batch = None
        has_time = self._move_clock(salt, timestamp_ms, batch)
        append_ms = self._append_ms.get(salt, 0)
        tally = self.ledger.setdefault((append_ms // MINUTE_MS, salt), Counter())
        tally["records"] += 1
        if batch is None:
            tally["unreadable_records"] += 1
            self.dead[partition, offset, -1] = value
            return
        tally["clamped_records"] += timestamp_ms > batch["produced_at"] + self.rules.clock_ahead_ms
        for index, event in enumerate(batch["events"]):
            fate = self._judge(event, salt, append_ms if has_time else None)
            tally["received"] += 1
            tally[fate] += 1
            if fate == "late":
                self.late[partition, offset, index] = event
            elif fate in ("invalid", "dead_lettered"):
                self.dead[partition, offset, index] = event
            self.received_ids.add(event["event_id"])

    def _move_clock(self, salt: int, timestamp_ms: int, batch: dict[str, Any] | None) -> bool:
        """Move the salt's append time on. Returns whether the salt has one."""
        said_ms = timestamp_ms
        if batch is not None:
            said_ms = min(timestamp_ms, batch["produced_at"] + self.rules.clock_ahead_ms)
        # A record without a salt goes by its timestamp alone. Another one moves the time only if it says when it was
        # made.
        if salt < 0 or (batch is not None and batch["produced_at"] >= TIMES_BEGIN_MS):
            self._append_ms[salt] = max(self._append_ms.get(salt, said_ms), said_ms)
        return salt in self._append_ms

    def _judge(self, event: dict[str, Any], salt: int, append_ms: int | None) -> str:
        identity: bytes = event["event_id"]
        viewed_at_ms: int = event["viewed_at"]
        if mmh3.hash(identity, 0, signed=False) % self.rules.salts != salt or not _is_well_formed(event):
            return "dead_lettered"
        if append_ms is None or viewed_at_ms > append_ms + self.rules.future_skew_ms:
            return "invalid"
        minute = viewed_at_ms // MINUTE_MS
        if (minute + 1) * MINUTE_MS + self.rules.lateness_ms <= append_ms:
            return "late"
        generation = append_ms // self.rules.generation_ms
        first = self._first_generation.get(identity)
        if first is not None and generation - first <= 1:
            return "duplicate"
        self._first_generation[identity] = generation
        if any(
            begin <= append_ms and (end is None or append_ms < end)
            for begin, end in self._blocked.get(event["viewer_id"] or b"", ())
        ):
            self.cells[event["video_id"].decode(), "blocked:" + event["kind"].decode(), minute] += 1
            return "blocked"
        self.counted_ids += identity
        self.cells[event["video_id"].decode(), event["kind"].decode(), minute] += 1
        return "counted"


def _is_well_formed(event: dict[str, Any]) -> bool:
    if not (1 <= len(event["video_id"]) <= VIDEO_ID_BYTES_MAX and 1 <= len(event["kind"]) <= KIND_BYTES_MAX):
        return False
    if event["kind"].startswith(b"blocked:"):
        return False
    try:
        for name, value in event.items():
            if name not in ("event_id", "viewed_at") and value is not None:
                value.decode()
    except UnicodeDecodeError:
        return False
    return True
