"""When keys were last used, as all processes tell Redis. What lies there may be lost, and nothing fails without it."""

from datetime import UTC, datetime

from redis.asyncio import Redis

from connectors.redis_client import redis_client
from settings import RedisSettings

NAME = "view-counts:last-use"


async def write_uses(redis: Redis, used: dict[str, int]) -> None:
    """Write times of use by key id, in s since 1970, and take them out of `used`. Raises RedisError or OSError.

    Another process may have written a later time; that stays.
    """
    now = dict(used)
    if not now:
        return
    await redis.zadd(NAME, now, gt=True)
    for key_id, at_s in now.items():
        # It may have been used meanwhile.
        if used[key_id] == at_s:
            del used[key_id]


async def read_uses(settings: RedisSettings) -> dict[str, datetime]:
    """The last use of each key that Redis knows of. Raises RedisError or OSError."""
    redis = redis_client(settings)
    try:
        found: list[tuple[bytes, float]] = await redis.zrange(NAME, 0, -1, withscores=True)
    finally:
        await redis.aclose()
    return {key_id.decode(): datetime.fromtimestamp(at_s, UTC) for key_id, at_s in found}
