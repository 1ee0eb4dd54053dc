"""Runs an ASGI application under uvicorn, the same way for every service."""

import uvicorn
from starlette.applications import Starlette

GRACE_S = 10


def serve(app: Starlette, *, host: str, port: int, keep_alive_s: int) -> None:
    """Serve until SIGTERM or SIGINT; requests under way get ten seconds to end.

    A connection on which nothing comes is closed after `keep_alive_s`. Were that sooner than whoever sends closes it, a
    request could meet a closed one.
    """
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=keep_alive_s,
    )
