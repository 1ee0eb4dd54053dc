"""Runs an ASGI application under uvicorn, the same way for every service."""

import uvicorn
from starlette.applications import Starlette

GRACE_S = 10


def serve(app: Starlette, *, host: str, port: int, keep_alive_s: int) -> None:
    """Serve until SIGTERM or SIGINT. Requests under way then get GRACE_S to end.

    An idle connection is closed after `keep_alive_s`. If clients and balancers keep theirs longer than that, a request
    can meet a connection that is just being closed.
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
