"""Measures how late the event loop of a process is: a timer that is due every 20 ms says when it ran."""

import asyncio
import time
from collections.abc import Callable

from services.overload import Overload

EVERY_S = 0.02


async def watch(overload: Overload, heard: Callable[[float], None]) -> None:
    """Tell the rule, and `heard`, how many s the loop was late, until the task is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + EVERY_S
        await asyncio.sleep(EVERY_S)
        lag_s = max(0.0, loop.time() - due_s)
        heard(lag_s)
        overload.sampled(lag_s, time.monotonic(), time.process_time())
