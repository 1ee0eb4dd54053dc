"""One request to an endpoint and its answer, within time-outs and a deadline for the whole. Retries nothing."""

import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import httpcore2
from httpcore2 import SOCKET_OPTION, NetworkBackend, NetworkStream, ReadTimeout, SyncBackend, WriteTimeout

# The longest answer names 1,000 rejected events.
ANSWER_BYTES_MAX = 4 << 20
_WRITE_BYTES = 1 << 16
# A request would not end in time; the least that a socket takes as a time-out.
_TIMEOUT_MIN_S = 0.001
_ERRORS = (
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.TimeoutException,
    httpcore2.UnsupportedProtocol,
    OSError,
)


class Answer(NamedTuple):
    """What an endpoint has answered. Names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswerError(Exception):
    """There is no answer. Whether the endpoint has taken the request is not known."""


class Transport(Protocol):
    """Sends requests, one at a time."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer. Raises NoAnswerError."""
        ...

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """The answer. Raises NoAnswerError."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a connection, a step of a request and a whole call may take."""

    connect_s: float
    request_s: float
    deadline_s: float


class HttpTransport:
    """Requests by httpcore2, over connections that stay open."""

    def __init__(
        self, timeouts: Timeouts, *, proxy: str | None = None, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._timeouts = timeouts
        self._backend = _Backend()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=ssl_context,
            proxy=None if proxy is None else httpcore2.Proxy(proxy),
            # A server or a balancer closes a connection that idles for longer, perhaps just when it is used again.
            keepalive_expiry=30.0,
            network_backend=self._backend,
        )

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """See Transport."""
        return self._ask("POST", url, headers, body)

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """See Transport."""
        return self._ask("GET", url, headers, None)

    def close(self) -> None:
        """See Transport."""
        self._pool.close()

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str]) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """The head of an answer that goes on for as long as the server likes, and its body as it comes.

        A server that is silent for longer than a request may take is given up. Raises NoAnswerError, within the context
        as well.
        """
        with self._opened("GET", url, headers, None, float("inf")) as (head, chunks):
            yield head, chunks

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        with self._opened(method, url, headers, body, self._timeouts.deadline_s) as (head, chunks):
            found = bytearray()
            for chunk in chunks:
                found += chunk
                if len(found) > ANSWER_BYTES_MAX:
                    raise NoAnswerError(f"the answer of {url} is longer than {ANSWER_BYTES_MAX} bytes")
            return head._replace(body=bytes(found))

    @contextmanager
    def _opened(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, deadline_s: float
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        step_s = self._timeouts.request_s
        timeout = {"connect": self._timeouts.connect_s, "read": step_s, "write": step_s, "pool": step_s}
        self._backend.until_s = time.monotonic() + deadline_s
        try:
            with self._pool.stream(
                method, url, headers=[*headers.items()], content=body, extensions={"timeout": timeout}
            ) as response:
                named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                yield Answer(response.status, named, b""), response.iter_stream()
        except _ERRORS as error:
            raise NoAnswerError(f"{url}: {type(error).__name__}: {error}") from error


class _Backend(NetworkBackend):
    """Connections on which no step takes longer than until the deadline of the call."""

    def __init__(self) -> None:
        self._sockets = SyncBackend()
        self.until_s = 0.0

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        left_s = self.left_s(timeout)
        return _Stream(self._sockets.connect_tcp(host, port, left_s, local_address, socket_options or ()), self)

    def left_s(self, timeout: float | None) -> float:
        """How long a step may take that has this time-out; 0 or less after the deadline."""
        left_s = self.until_s - time.monotonic()
        return left_s if timeout is None else min(timeout, left_s)


class _Stream(NetworkStream):
    def __init__(self, stream: NetworkStream, backend: _Backend) -> None:
        self._stream = stream
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left_s = self._backend.left_s(timeout)
        if left_s < _TIMEOUT_MIN_S:
            raise ReadTimeout("the deadline of the call is over")
        return self._stream.read(max_bytes, left_s)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        for at in range(0, len(view), _WRITE_BYTES):
            left_s = self._backend.left_s(timeout)
            if left_s < _TIMEOUT_MIN_S:
                raise WriteTimeout("the deadline of the call is over")
            self._stream.write(bytes(view[at : at + _WRITE_BYTES]), left_s)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Self:
        left_s = max(_TIMEOUT_MIN_S, self._backend.left_s(timeout))
        return type(self)(self._stream.start_tls(ssl_context, server_hostname, left_s), self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
