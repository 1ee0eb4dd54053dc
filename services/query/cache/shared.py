"""Holds bytes in Redis, for all processes of the service and across restarts. Knows no store and no number.

What lies there may be lost at any time. Nobody waits for Redis longer than TIMEOUT_S, and after a failure it is left
alone for AWAY_S, so that one that is dead or hangs costs nothing. How much lies there is bounded by its own maxmemory.
"""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from time import monotonic

import structlog
from redis import RedisError
from redis.asyncio import Redis

LOG = structlog.get_logger("query")
TIMEOUT_S = 0.02
AWAY_S = 5.0
# So many writes are under way; further ones are left out.
WRITES_MAX = 8
PREFIX = b"view-counts:query:1:"
_CHECK_BYTES = 4


class Shared:
    """Bytes by name. A value that is not whole, or of another name, is as good as none.

    Without `redis`, nothing is held. Values are dropped after `kept_s`.
    """

    def __init__(self, redis: Redis | None, *, kept_s: int) -> None:
        self._redis = redis
        self._kept_s = kept_s
        self._away_until_s = 0.0
        self._writes: set[asyncio.Task[None]] = set()

    async def get(self, names: Sequence[bytes]) -> list[bytes | None]:
        """What is held under these names, in their order."""
        none: list[bytes | None] = [None] * len(names)
        if self._redis is None or not names or monotonic() < self._away_until_s:
            return none
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = await self._redis.mget([_key(name) for name in names])
        except (RedisError, OSError) as error:
            self._failed(error)
            return none
        return [_opened(name, value) for name, value in zip(names, found, strict=True)]

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Hold these values. Returns at once."""
        if self._redis is None or not values or len(self._writes) >= WRITES_MAX or monotonic() < self._away_until_s:
            return
        task = asyncio.create_task(self._write(self._redis, dict(values)))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _write(self, redis: Redis, values: Mapping[bytes, bytes]) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S), redis.pipeline(transaction=False) as pipeline:
                for name, value in values.items():
                    pipeline.set(_key(name), _check(name, value) + value, ex=self._kept_s)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._away_until_s = monotonic() + AWAY_S
        LOG.warning("Redis does not answer, and is left alone", for_s=AWAY_S, error=repr(error))


def _key(name: bytes) -> bytes:
    return PREFIX + blake2b(name, digest_size=16).hexdigest().encode()


def _check(name: bytes, value: bytes) -> bytes:
    return zlib.crc32(value, zlib.crc32(name)).to_bytes(_CHECK_BYTES, "little")


def _opened(name: bytes, held: bytes | None) -> bytes | None:
    if held is None or held[:_CHECK_BYTES] != _check(name, held[_CHECK_BYTES:]):
        return None
    return held[_CHECK_BYTES:]
