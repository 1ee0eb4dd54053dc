"""Turns the Cassandra driver's callbacks into an asyncio future with all rows of a statement. Knows no statement.

The driver gives a callback the rows of one page, which has 5,000 rows by default. Code that takes the first page for
the whole answer loses the rest without any error.
"""

import asyncio
import contextlib
from typing import Any


def all_rows(request: Any, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[list[Any]]":
    """A future of every row that a request of `execute_async` returns, or of the error of the page that failed.

    Call it on the loop. Pages are fetched one after another, and no more of them once the future is cancelled.
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
        with contextlib.suppress(RuntimeError):  # The loop is closed, so nobody waits any more.
            loop.call_soon_threadsafe(settle, error)

    def take(page: Any) -> None:
        # Runs on a thread of the driver, which drops what a callback raises.
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
