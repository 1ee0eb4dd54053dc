"""`python -m benchmarks.measuring.idle_loop SECONDS`: how late the event loop of a process is that does nothing.

It is the control of an overload: sampled as ingest samples its own loop, on the same core at the same time. What this
loop is late, the machine has kept from both.
"""

import asyncio
import contextlib
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

import uvloop

from services.loop_lag import watch
from services.overload import Overload


def figures(lags_s: Sequence[float]) -> dict[str, Any]:
    """The lags in ms: how many, the median, what 99% of them keep, and the longest."""
    ordered = sorted(lags_s)
    if not ordered:
        return {"samples": 0}
    p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99))
    named = {"p50_ms": p50, "p99_ms": p99, "max_ms": ordered[-1]}
    return {"samples": len(ordered), **{name: round(lag_s * 1000, 2) for name, lag_s in named.items()}}


async def _sample(seconds: float) -> list[float]:
    # The first one counts from before the loop ran.
    lags_s: list[float] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await watch(Overload(1.0), lags_s.append)
    return lags_s[1:]


def main() -> None:
    """Sample for so long, and print the figures as JSON."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(figures(runner.run(_sample(float(sys.argv[1]))))))


if __name__ == "__main__":
    main()
