"""Random streams of views, and what must come of them by the words of the rules, with no code of the product's."""

import collections
import random
import uuid

import mmh3

from schemas import registry
from settings import CountingSettings
from tests.support.batch_versions import VERSIONS, encode_batch
from udfs.logic.stream.block_list import BlockList, read_blocked
from udfs.logic.wire.keyed_records import Keyed

MINUTE_MS = 60_000
SECOND_MS = 1000
# A real time of day: numbers that are packed, shifted or multiplied must have room for today's.
NOW_MS = 1_767_225_600_000


def rules(lateness_ms: int) -> CountingSettings:
    """Few salts and shards, and the shortest generation that the lateness allows."""
    return CountingSettings(
        salts=4,
        shards=2,
        max_parallelism=4,
        lateness_ms=lateness_ms,
        generation_ms=lateness_ms + 2 * MINUTE_MS,
        future_skew_ms=MINUTE_MS,
    )


RULES = rules(5 * MINUTE_MS)
RULE_SETS = [rules(MINUTE_MS), RULES, rules(10 * MINUTE_MS)]
Event = tuple[bytes, str, str, int]
# The broker's stamp, the value, when its batch was made; and its events, None of what cannot be read.
Record = tuple[int, bytes, int, list[Event] | None]
# Whatever a test's own time is, ahead of it.
FAR_MS = 100 * 366 * 24 * 60 * MINUTE_MS
# 2000-01-01.
TIMES_BEGIN_MS = 946_684_800_000


# By append time, in minutes from NOW_MS; None: for good.
BLOCKED: dict[str, list[tuple[int, int | None]]] = {
    "viewer-1": [(2, 20), (25, 26), (60, None)],
    "viewer-2": [(0, None)],
    "viewer-é": [(3, 4)],
    "nobody": [(0, None)],
}


def blocked_rests() -> dict[str, bytes]:
    """BLOCKED, as the topic keeps it."""
    found = {}
    for viewer, periods in BLOCKED.items():
        value = {
            "viewer_id": viewer,
            "periods": [
                {
                    "effective_from": NOW_MS + begin * MINUTE_MS,
                    "effective_until": None if end is None else NOW_MS + end * MINUTE_MS,
                }
                for begin, end in periods
            ],
        }
        record = read_blocked(viewer.encode(), registry.encode("BlockedViewer", value))
        assert isinstance(record, Keyed), record
        assert record.rest is not None
        found[viewer] = record.rest
    return found


def block_list() -> BlockList:
    """BLOCKED, as dedup gets it from the topic."""
    made = BlockList()
    for viewer, rest in blocked_rests().items():
        made.put(viewer.encode(), rest)
    return made


BLOCKS = block_list().table


def viewer_of(event_id: bytes) -> str | None:
    """An event's viewer follows from its id, so that a repeat has the same."""
    return (None, "", "viewer-1", "viewer-2", "viewer-é", "viewer", "viewer-10", "other")[event_id[0] % 8]


def country_of(event_id: bytes) -> str | None:
    """An event's country follows from its id too."""
    return (None, "", "DE", "FR", "de", "DEU", "é", "1A")[event_id[1] % 8]


def device_of(event_id: bytes) -> str | None:
    """And its device."""
    return (None, "", "tv", "TV", "Phone 5.1", "Other", "d" * 33, "é", "tv/1", "set-top_box")[event_id[2] % 10]


def is_blocked(event_id: bytes, append_ms: int) -> bool:
    """By the words of the rule."""
    return any(
        NOW_MS + begin * MINUTE_MS <= append_ms and (end is None or append_ms < NOW_MS + end * MINUTE_MS)
        for begin, end in BLOCKED.get(viewer_of(event_id) or "", [])
    )


def encode(salt: int, events: list[Event], produced_ms: int) -> bytes:
    batch = {
        "batch_id": bytes(16),
        "producer_id": "test",
        "salt": salt,
        "salts": RULES.salts,
        "produced_at": produced_ms,
        "events": [
            {
                "event_id": i,
                "video_id": video,
                "kind": kind,
                "viewed_at": at,
                "viewer_id": viewer_of(i),
                "country": country_of(i),
                "device": device_of(i),
            }
            for i, video, kind, at in events
        ],
    }
    # Producers of all versions write to one topic.
    return encode_batch(batch, VERSIONS[(produced_ms // SECOND_MS + len(events) + salt) % len(VERSIONS)])


def random_log(r: random.Random, rules: CountingSettings) -> list[list[Record]]:
    """Per salt, records whose times mostly rise, with duplicates, repeats stamped anew, late and future events.

    Some records cannot be read, or do not say when they were made; some producers are slow; and the clocks of brokers
    step forth, by minutes or by a century, for one record or for many, and back.
    """
    log: list[list[Record]] = [[] for _ in range(RULES.salts)]
    known: list[Event] = []
    ahead = [0] * RULES.salts
    now = NOW_MS
    lateness_s = rules.lateness_ms // SECOND_MS
    for _ in range(r.randrange(20, 90)):
        now += 1000 * r.choice([0, 1, 5, 20, 90, 400, 1000] if r.random() < 0.5 else [1])
        events: list[Event] = []
        for _ in range(r.randrange(0, 6)):
            if known and r.random() < 0.35:
                i, video, kind, at = r.choice(known)
                events.append((i, video, kind, now - 1000 * r.randrange(0, 200) if r.random() < 0.3 else at))
                continue
            i = bytes(16) if r.random() < 0.02 else uuid.UUID(int=r.getrandbits(128)).bytes
            edges = [-lateness_s - 600, -lateness_s - 60, -lateness_s - 59, -lateness_s + 1]
            offset = SECOND_MS * r.choice([*edges, -61, -1, 0, 0, 0, 59, 60, 61, 5000]) - r.choice([0, 0, 1])
            event = (i, f"video-{r.randrange(5)}-é", r.choice(["view", "view", "like"]), now + offset)
            known.append(event)
            events.append(event)
        for salt in range(RULES.salts):
            mine = [e for e in events if mmh3.hash(e[0], 0, signed=False) % RULES.salts == salt]
            stamp = now - (1000 * r.randrange(0, 30) if r.random() < 0.1 else 0)
            log[salt].append(_record(r, salt, mine, now, stamp + ahead[salt]))
            if r.random() < 0.04:
                ahead[salt] = r.choice([0, 0, 3 * MINUTE_MS, 11 * MINUTE_MS, FAR_MS])
    end = now + 7_000_000
    for salt in range(RULES.salts):
        log[salt].append((end + r.choice([0, FAR_MS]), encode(salt, [], end), end, []))
    return log


def _record(r: random.Random, salt: int, events: list[Event], now: int, stamp: int) -> Record:
    """A batch made at about this time, or something else."""
    chance = r.random()
    if chance < 0.02:
        return stamp, encode(salt, events, now)[:-1], now, None
    produced = now - SECOND_MS * r.choice([0, 0, 0, 1, 30, 15 * 60])
    if chance < 0.05:
        produced = r.choice([0, -1, TIMES_BEGIN_MS - 1])
    if chance > 0.98:
        stamp += FAR_MS
    return stamp, encode(salt, events, produced), produced, events


class SaltClock:
    """The time of a salt, by the words of the rule; None before a record has said when it was made."""

    def __init__(self, rules: CountingSettings) -> None:
        self._ahead_ms = rules.clock_ahead_ms
        self.append: int | None = None

    def move(self, record: Record) -> int:
        """To where the record moves it; the time that the record has, which is 1970 before there is any."""
        stamp, _, produced, events = record
        if events is not None and produced >= TIMES_BEGIN_MS:
            time = min(produced + self._ahead_ms, stamp)
            self.append = time if self.append is None else max(self.append, time)
        return 0 if self.append is None else self.append


Ledger = dict[tuple[int, int], collections.Counter[str]]


def brute_force(log: list[list[Record]], rules: CountingSettings) -> tuple[dict[tuple[str, str, int], int], Ledger]:
    """What must be stored, and the fates by salt and minute of arrival, by the words of the rules, no operator."""
    want: collections.Counter[tuple[str, str, int]] = collections.Counter()
    ledger: Ledger = {}
    for salt, records in enumerate(log):
        clock = SaltClock(rules)
        first: dict[bytes, int] = {}
        for record in records:
            stamp, _, produced, events = record
            append = clock.move(record)
            generation = append // rules.generation_ms
            fates = ledger.setdefault((salt, append // MINUTE_MS), collections.Counter())
            fates["records"] += 1
            if events is None:
                fates["unreadable_records"] += 1
                continue
            fates["clamped_records"] += stamp > produced + rules.clock_ahead_ms
            for i, video, kind, at in events:
                fates["received"] += 1
                if clock.append is None or at > append + rules.future_skew_ms:
                    fates["invalid"] += 1
                elif (at // MINUTE_MS + 1) * MINUTE_MS + rules.lateness_ms <= append:
                    fates["late"] += 1
                elif i in first and generation - first[i] <= 1:
                    fates["duplicate"] += 1
                else:
                    blocked = is_blocked(i, append)
                    fates["blocked" if blocked else "counted"] += 1
                    first[i] = generation
                    want[f"blocked:{kind}" if blocked else kind, video, at // MINUTE_MS] += 1
    return dict(want), {place: +fates for place, fates in ledger.items()}
