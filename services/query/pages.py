"""All rows of a statement, however many pages they come in. Knows no statement.

The driver gives a callback the rows of one page, 5,000 unless set: who takes the first one for the answer cuts whatever
is longer, and nothing says so.
"""

import asyncio
import contextlib
from typing import Any


def all_rows(request: Any, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[list[Any]]":
    """What a request that `execute_async` has sent comes to: every row, or the error of the page that failed.

    Called on the loop. Pages are asked for one after another, and no further ones when nobody waits any more.
    """
    done: asyncio.Future[list[Any]] = loop.create_future()
    found: list[Any] = []

    def settle(error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(found)

    def on_loop(error: Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            loop.call_soon_threadsafe(settle, error)

    def take(page: Any) -> None:
        # On a thread of the driver, which drops what a callback raises.
        try:
            found.extend(page or ())
            if not request.has_more_pages:
                on_loop(None)
            elif not done.done():
                request.start_fetching_next_page()
        except Exception as error:
            on_loop(error)

    request.add_callbacks(take, on_loop)
    return done
