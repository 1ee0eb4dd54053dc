"""Buckets that all processes share: in Redis, where a script takes from both of a caller's in one step.

What Redis loses is a bucket that is full again. Raises the errors of its client.
"""

import math
from typing import Protocol

from redis.asyncio import Redis

from services.limits.buckets import NOTHING, Amount, Lease, Limits

PREFIX = "view-counts:limit:"
# The same as services.limits.buckets.Buckets.lease. ARGV: the time in s, or 0 for the server's clock, and for events
# and then for bytes: tokens a second, burst, need, want, paid. Numbers go as text, because Redis would cut them off.
_SCRIPT = """
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local function of(i)
  local numbers = {}
  for n = 1, 5 do numbers[n] = tonumber(ARGV[5 * i - 4 + n]) end
  return unpack(numbers)
end
local kept = redis.call('HMGET', KEYS[1], 'at_s', 'events', 'bytes')
local left, given, wait, full = {}, {0, 0}, 0, 0
for i = 1, 2 do
  local per_s, burst, need, _, paid = of(i)
  left[i] = burst
  if kept[1] then
    left[i] = math.min(burst, tonumber(kept[i + 1]) + per_s * math.max(0, now - tonumber(kept[1])))
  end
  if need > 0 then
    wait = math.max(wait, (math.min(need + paid, burst) - paid - left[i]) / per_s)
  end
end
if wait <= 0 then
  wait = 0
  for i = 1, 2 do
    local per_s, burst, need, want = of(i)
    given[i] = need + math.max(0, math.min(want - need, left[i] - need))
    left[i] = left[i] - given[i]
    full = math.max(full, (burst - left[i]) / per_s)
  end
  local function text(number) return string.format('%.17g', number) end
  redis.call('HSET', KEYS[1], 'at_s', text(now), 'events', text(left[1]), 'bytes', text(left[2]))
  redis.call('PEXPIRE', KEYS[1], math.ceil(math.min(full, 86400) * 1000) + 1000)
end
local answer = {wait, given[1], given[2], left[1], left[2]}
for i = 1, 5 do answer[i] = string.format('%.17g', answer[i]) end
return answer
"""


class SharedBuckets(Protocol):
    """The buckets of all callers, which other processes take from as well."""

    async def lease(self, name: str, limits: Limits, need: Amount, want: Amount, paid: Amount = NOTHING) -> Lease:
        """As services.limits.buckets.Buckets.lease, from the buckets of this name."""
        ...


class RedisBuckets:
    """The buckets in Redis. One that is not used is gone when it would be full."""

    def __init__(self, client: Redis) -> None:
        self._script = client.register_script(_SCRIPT)

    async def lease(
        self, name: str, limits: Limits, need: Amount, want: Amount, paid: Amount = NOTHING, *, now_s: float = 0.0
    ) -> Lease:
        """See SharedBuckets. The clock is the server's, unless a test gives another. Raises RedisError or OSError."""
        arguments = (
            *(now_s,),
            *(limits.events.per_s, limits.events.burst, need.events, want.events, paid.events),
            *(limits.bytes.per_s, limits.bytes.burst, need.bytes, want.bytes, paid.bytes),
        )
        answer = await self._script(keys=[PREFIX + name], args=[repr(float(one)) for one in arguments])
        wait_s, events, of_bytes, events_left, bytes_left = map(float, answer)
        # A wait that rounds to nothing would look like a gift of nothing.
        wait_s = max(wait_s, math.ulp(0.0)) if wait_s > 0 else 0.0
        return Lease(Amount(events, of_bytes), Amount(events_left, bytes_left), wait_s)
