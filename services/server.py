"""Runs a service's two ASGI applications under uvicorn in one process, the same way for every service.

The public one answers clients. The private one, on a port of its own, answers operators and monitoring: it needs no
key, so that port must be reachable by them alone.
"""

import asyncio
import contextlib
import functools
import signal
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from services.connections import ConnectionAge, DatedConnection
from services.door import Begins, Door
from services.leaving import Life
from settings.groups.serving import ServingSettings

LOG = structlog.get_logger("server")
GRACE_S = 10


@dataclass(frozen=True, slots=True)
class Service:
    """A service's applications. The public one's lifespan is that of the process, and it may have a door.

    `front` stands before the public one, if it is given, and may answer some requests in its place.
    """

    public: Starlette
    private: Starlette
    life: Life
    door: Door | None = None
    front: ASGIApp | None = None

    @property
    def served(self) -> ASGIApp:
        """What answers on the public port."""
        return self.public if self.front is None else self.front


class _Server(uvicorn.Server):
    """uvicorn's server without its handling of signals: two of them share a process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def serve(service: Service, serving: ServingSettings) -> None:
    """Serve until SIGTERM or SIGINT. Requests under way then get GRACE_S to end.

    After SIGTERM, /readyz answers 503, and requests are served for `leaving_s` more, so that the balancer has sent them
    elsewhere before the port closes. SIGINT, and a second SIGTERM, end that wait.
    """
    app: ASGIApp = ConnectionAge(service.served, age_s=serving.connection_s, life=service.life)
    public = _server(
        app if service.door is None else Begins(app, service.door),
        host=serving.host,
        port=serving.port,
        serving=serving,
        lifespan="on",
        door=service.door,
    )
    private = _server(
        service.private, host=serving.private_host, port=serving.private_port, serving=serving, lifespan="off"
    )
    with asyncio.Runner(loop_factory=public.config.get_loop_factory()) as runner:
        runner.run(_serve(public, private, service.life, serving.leaving_s))


def _server(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    serving: ServingSettings,
    lifespan: Literal["on", "off"],
    door: Door | None = None,
) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="uvloop",
            # uvicorn calls what makes its connections, and need not know that it is no class.
            http=functools.partial(DatedConnection, serving=serving, door=door),  # type: ignore[arg-type]
            ws="none",
            lifespan=lifespan,
            access_log=False,
            log_level="warning",
            # Clients learn the address of whoever asks from a header only as settings say.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=serving.keep_alive_s,
        )
    )


async def _serve(public: _Server, private: _Server, life: Life, leaving_s: float) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def leave() -> None:
        if life.is_leaving or leaving_s == 0:
            stopped.set()
            return
        LOG.info("leaves", after_s=leaving_s)
        life.is_leaving = True
        loop.call_later(leaving_s, stopped.set)

    loop.add_signal_handler(signal.SIGTERM, leave)
    loop.add_signal_handler(signal.SIGINT, stopped.set)
    servers = [asyncio.create_task(server.serve()) for server in (public, private)]
    stopping = asyncio.create_task(stopped.wait())
    # A server that ends by itself could not listen on its port.
    await asyncio.wait([*servers, stopping], return_when=asyncio.FIRST_COMPLETED)
    life.is_leaving = True
    stopping.cancel()
    public.should_exit = True
    # The private port goes on answering while requests of the public one end.
    await asyncio.wait([servers[0]])
    private.should_exit = True
    await asyncio.wait([servers[1]])
    for server in servers:
        server.result()
