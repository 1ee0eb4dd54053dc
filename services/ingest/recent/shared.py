"""The last events and refused bodies of each caller, of all processes together: two lists in Redis.

They are written in the background.

What lies there may be lost, and holds no viewer id. Nothing fails without it.
"""

import asyncio
import contextlib
from typing import TypeVar

import msgspec
from redis import RedisError
from redis.asyncio import Redis

from services.ingest.recent.answers import BODIES_MAX, EVENTS_MAX, RecentEvent, RefusedBody
from services.ingest.recent.notes import Notes, Of
from services.ingest.recent.refusals import Refusals
from services.ingest.recent.shown import Note, newest

PREFIX = "view-counts:recent:"
REFUSED_PREFIX = "view-counts:refused:"
EXPIRY_S = 86_400
SHARE_S = 2.0
# How many events a process shares at once. Callers that do not fit wait for the next turn.
TURN_EVENTS_MAX = 2000
_ENCODER = msgspec.json.Encoder()
_EVENT = msgspec.json.Decoder(RecentEvent)
_BODY = msgspec.json.Decoder(RefusedBody)

T = TypeVar("T")


class SharedRecent:
    """What one process shares and finds."""

    def __init__(self, redis: Redis, notes: Notes, refusals: Refusals) -> None:
        self._redis = redis
        self._notes = notes
        self._refusals = refusals

    async def run(self) -> None:
        """Share what is new every few seconds, until the task is cancelled."""
        while True:
            await asyncio.sleep(SHARE_S)
            with contextlib.suppress(RedisError, OSError):
                await self.share()

    async def share(self) -> None:
        """Share what is new. Raises RedisError or OSError; what was not shared is tried again the next time."""
        await self._share_refusals()
        left = TURN_EVENTS_MAX
        for of in list(self._notes.waiting):
            if left <= 0:
                return
            notes = self._notes.not_shared(of)
            values = await asyncio.to_thread(_values, notes, self._notes.process)
            if values:
                await self._push(_name(of), values, EVENTS_MAX)
            self._notes.is_shared(of, notes[0].number if notes else -1)
            left -= len(values)

    async def recent(self, of: Of) -> list[RecentEvent]:
        """The last events of a caller that processes have shared. Raises RedisError or OSError."""
        return await self._list(_name(of), EVENTS_MAX, _EVENT)

    async def refused(self, of: Of) -> list[RefusedBody]:
        """The refused bodies of a caller that processes have shared. Raises RedisError or OSError."""
        return await self._list(_refused_name(of), BODIES_MAX, _BODY)

    async def _share_refusals(self) -> None:
        """Of a flood a process shares one body a turn, since equal ones are counted together until then."""
        for of in list(self._refusals.waiting):
            bodies = self._refusals.to_share(of)
            if bodies:
                await self._push(_refused_name(of), [_ENCODER.encode(body) for body in bodies], BODIES_MAX)
            self._refusals.is_shared(of, bodies[-1].number if bodies else -1)

    async def _list(self, name: str, length_max: int, decoder: msgspec.json.Decoder[T]) -> list[T]:
        # The client's types say that a command may also be of a pipeline.
        values: list[bytes] = await self._redis.lrange(name, 0, length_max - 1)  # type: ignore[misc]
        found = []
        for value in values:
            # Another version of the product may have written it.
            with contextlib.suppress(msgspec.DecodeError):
                found.append(decoder.decode(value))
        return found

    async def _push(self, name: str, values: list[bytes], length_max: int) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.lpush(name, *values)
        pipeline.ltrim(name, 0, length_max - 1)
        pipeline.expire(name, EXPIRY_S)
        await pipeline.execute()


def together(some: list[RecentEvent], others: list[RecentEvent]) -> list[RecentEvent]:
    """The last events of both, each once, the last one first. A process knows its own better than Redis does."""
    found = {(one.process, one.body, one.index): one for one in (*others, *some)}
    ordered = sorted(found.values(), key=lambda one: (one.at, one.process, one.body, one.index), reverse=True)
    return ordered[:EVENTS_MAX]


def bodies_together(some: list[RefusedBody], others: list[RefusedBody]) -> list[RefusedBody]:
    """The last refused bodies of both, each once, the last one first."""
    found = {(one.process, one.number): one for one in (*others, *some)}
    return sorted(found.values(), key=lambda one: (one.at, one.process, one.number), reverse=True)[:BODIES_MAX]


def _values(notes: list[Note], process: str) -> list[bytes]:
    """The events of these notes, of which the newest is the first, in the order in which they came."""
    return [_ENCODER.encode(event) for event in reversed(newest(notes, process))]


def _name(of: Of) -> str:
    return PREFIX + _text(of)


def _refused_name(of: Of) -> str:
    return REFUSED_PREFIX + _text(of)


def _text(of: Of) -> str:
    project, key = of
    return f"{project}:{key or ''}"
