"""Tells Redis now and then which keys this process has seen, so that operators find the ones that nobody uses."""

import asyncio
import contextlib

from redis import RedisError
from redis.asyncio import Redis

from connectors.key_use import write_uses
from services.access.access import Access

TELL_S = 10.0


async def tell_uses(access: Access, redis: Redis) -> None:
    """Tell what is new, until the task is cancelled. While Redis is away, it is kept."""
    while True:
        await asyncio.sleep(TELL_S)
        with contextlib.suppress(RedisError, OSError):
            await write_uses(redis, access.used)
