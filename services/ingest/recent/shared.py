"""The last events of each caller, of all processes together: a list in Redis, written in the background.

What lies there may be lost, and holds no viewer id. Nothing fails without it.
"""

import asyncio
import contextlib

import msgspec
from redis import RedisError
from redis.asyncio import Redis

from services.ingest.recent.answers import EVENTS_MAX, RecentEvent
from services.ingest.recent.notes import Notes, Of
from services.ingest.recent.shown import Note, newest

PREFIX = "view-counts:recent:"
EXPIRY_S = 86_400
SHARE_S = 2.0
# How many events a process shares at once. Callers that do not fit wait for the next turn.
TURN_EVENTS_MAX = 2000
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(RecentEvent)


class SharedRecent:
    """What one process shares and finds."""

    def __init__(self, redis: Redis, notes: Notes) -> None:
        self._redis = redis
        self._notes = notes

    async def run(self) -> None:
        """Share what is new every few seconds, until the task is cancelled."""
        while True:
            await asyncio.sleep(SHARE_S)
            with contextlib.suppress(RedisError, OSError):
                await self.share()

    async def share(self) -> None:
        """Share what is new. Raises RedisError or OSError; what was not shared is tried again the next time."""
        left = TURN_EVENTS_MAX
        for of in list(self._notes.waiting):
            if left <= 0:
                return
            notes = self._notes.not_shared(of)
            values = await asyncio.to_thread(_values, notes, self._notes.process)
            if values:
                await self._push(of, values)
            self._notes.is_shared(of, notes[0].number if notes else -1)
            left -= len(values)

    async def recent(self, of: Of) -> list[RecentEvent]:
        """The last events of a caller that processes have shared. Raises RedisError or OSError."""
        # The client's types say that a command may also be of a pipeline.
        values: list[bytes] = await self._redis.lrange(_name(of), 0, EVENTS_MAX - 1)  # type: ignore[misc]
        found = []
        for value in values:
            # Another version of the product may have written it.
            with contextlib.suppress(msgspec.DecodeError):
                found.append(_DECODER.decode(value))
        return found

    async def _push(self, of: Of, values: list[bytes]) -> None:
        name = _name(of)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.lpush(name, *values)
        pipeline.ltrim(name, 0, EVENTS_MAX - 1)
        pipeline.expire(name, EXPIRY_S)
        await pipeline.execute()


def together(some: list[RecentEvent], others: list[RecentEvent]) -> list[RecentEvent]:
    """The last events of both, each once, the last one first. A process knows its own better than Redis does."""
    found = {(one.process, one.body, one.index): one for one in (*others, *some)}
    ordered = sorted(found.values(), key=lambda one: (one.at, one.process, one.body, one.index), reverse=True)
    return ordered[:EVENTS_MAX]


def _values(notes: list[Note], process: str) -> list[bytes]:
    """The events of these notes, of which the newest is the first, in the order in which they came."""
    return [_ENCODER.encode(event) for event in reversed(newest(notes, process))]


def _name(of: Of) -> str:
    project, key = of
    return f"{PREFIX}{project}:{key or ''}"
