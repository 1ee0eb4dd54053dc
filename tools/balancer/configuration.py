"""Makes HAProxy's configuration from the template beside this file. Only makes text; reads no environment.

The services' settings give the times: each wait of the balancer is longer than what it waits for, and its idle
connections end before a server would end them.
"""

import json
import math
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from settings import Settings

TEMPLATE = Path(__file__).with_name("haproxy.cfg")
CHECK_MS = 1000
FAST_CHECK_MS = 500
# A process that leaves must serve until so many checks have seen it.
CHECKS_SEEN = 3
SLOW_START_S = 10
# As large as what a browser sends while its page closes.
BUFFER_BYTES = 64 << 10
# How much longer the balancer waits than the service that it waits for, and how much sooner its idle connections end.
MARGIN_S = 10
IDLE_MARGIN_S = 15
QUERY_ANSWER_S = 60
# A stream of live answers has a comment each 15 s. A client or a process that is silent for longer has gone.
STREAM_SILENT_S = 45
# As services/ingest/idempotency.py reads a key, with or without double quotes. Other forms of a UUIDv7 are not
# repeated, which loses nothing but the second try.
KEY_FORM = r'^"?[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"?$'
FORWARDED = "X-Forwarded-For"
# Of HAProxy's ids of servers, which are 31 bits.
_IDS = (1 << 30) - 1
_ADDRESS = re.compile(r"[\w.*\[\]:-]+:\d{1,5}")
# In single quotes nothing but their end has a meaning.
_PATH = re.compile(r"[^'\x00-\x1f]+")
_AWAY = "no process is ready to take this; send it again, with the same ids, after the wait"
_BROKEN = "it is not known whether the events were taken; send them again with the same ids"
_QUERY_AWAY = "no process is ready to answer; ask again after the wait"
_QUERY_BROKEN = "the process that was asked did not answer; ask again"


class BalancerError(ValueError):
    """What a configuration is to be made of does not fit together. The message names it, with the remedy."""


@dataclass(frozen=True)
class Listed:
    """Processes by address (host:port). The order does not matter, also not for which of them answers for a video."""

    addresses: Sequence[str]


@dataclass(frozen=True)
class Resolved:
    """Processes by one name (host:port) that DNS resolves to all of them, and how many there may become."""

    address: str
    servers_max: int = 16


@dataclass(frozen=True)
class Door:
    """Where clients of one service connect, without TLS and with it, and who answers; each an address and a port."""

    plain: str | None
    tls: str | None
    servers: Listed | Resolved


@dataclass(frozen=True)
class Times:
    """How long services take, from their settings, in s."""

    head_s: int
    body_s: int
    ingest_s: int
    idle_s: int
    connections_max: int
    any_origin: bool
    country_header: str
    forwarded_header: str

    @classmethod
    def of(cls, settings: Settings) -> "Times":
        """The times of the services."""
        ingest = settings.ingest
        groups = (ingest, settings.query)
        return cls(
            head_s=math.ceil(max(group.head_timeout_s for group in groups)),
            body_s=math.ceil(ingest.body_timeout_s),
            ingest_s=math.ceil(ingest.body_timeout_s + ingest.delivery_timeout_ms / 1000) + MARGIN_S,
            idle_s=max(1, min(group.keep_alive_s for group in groups) - IDLE_MARGIN_S),
            connections_max=min(group.connections_max for group in groups),
            any_origin=settings.access.origins.strip() == "*",
            country_header=ingest.country_header,
            forwarded_header=settings.access.client_address_header or FORWARDED,
        )


@dataclass(frozen=True)
class Balancer:
    """One HAProxy. `private` is the address for operators and monitoring, and `socket` a path for its administrator.

    `keeps_forwarded`: the header that names clients is kept, and this balancer's word added. That is right behind
    another proxy, and where services look at what clients say. Otherwise the balancer is who meets clients first, and
    what they say of themselves is thrown away. `threads` None means one for each core. `balancers` is how many of them
    share the services.
    """

    ingest: Door
    query: Door
    private: str
    socket: Path
    certificate: Path | None = None
    keeps_forwarded: bool = False
    threads: int | None = None
    connections_max: int = 8000
    balancers: int = 2
    about: str = "Made by `python -m tools.ops balancer`."


class _AtTemplate(Template):
    """HAProxy reads $ and ${} itself."""

    delimiter = "@"


def check_leaving(settings: Settings) -> None:
    """Raise BalancerError if a process would leave before the balancer notices."""
    seen_s = CHECKS_SEEN * CHECK_MS / 1000
    for name, group in (("INGEST", settings.ingest), ("QUERY", settings.query)):
        if group.leaving_s < seen_s:
            raise BalancerError(
                f"VIEW_COUNTS_{name}_LEAVING_S={group.leaving_s:g} is less than {CHECKS_SEEN} checks of the balancer, "
                f"so that it would send requests to a process that has gone: set {seen_s:g} or more"
            )


def configuration(balancer: Balancer, times: Times) -> str:
    """The whole configuration. Raises BalancerError for an address or path that HAProxy would misread."""
    cross_origin = (
        " hdr Access-Control-Allow-Origin * hdr Access-Control-Expose-Headers Retry-After" if times.any_origin else ""
    )
    forwarded = "\n".join(_forwarded(balancer, times))
    doors = {"ingest": balancer.ingest, "query": balancer.query}
    values: dict[str, object] = {
        "about": balancer.about,
        "connections_max": balancer.connections_max,
        "threads": "" if balancer.threads is None else f"    nbthread {balancer.threads}",
        "socket": _path("socket", balancer.socket),
        "hard_stop_s": times.ingest_s + MARGIN_S,
        "buffer_bytes": BUFFER_BYTES,
        "resolvers": _resolvers(doors.values()),
        "head_s": times.head_s,
        "body_s": times.body_s,
        "idle_s": times.idle_s,
        # A client that sends nothing for so long has gone; ingest gives up a slow body sooner.
        "client_s": max(times.body_s + MARGIN_S, STREAM_SILENT_S),
        "ingest_s": times.ingest_s,
        "query_s": QUERY_ANSWER_S,
        "check_ms": CHECK_MS,
        "fast_check_ms": FAST_CHECK_MS,
        "slow_start_s": SLOW_START_S,
        # So that checks and operators always find room.
        "server_connections_max": max(1, times.connections_max * 9 // 10 // balancer.balancers),
        "key_form": f"'{KEY_FORM}'",
        "cross_origin": cross_origin,
        "forwarded": forwarded,
        "private": _address("private", balancer.private),
        "ingest_away": json.dumps({"accepted": 0, "rejected": [], "error": _AWAY}),
        "ingest_broken": json.dumps({"accepted": 0, "rejected": [], "error": _BROKEN}),
        "query_away": json.dumps({"error": _QUERY_AWAY}),
        "query_broken": json.dumps({"error": _QUERY_BROKEN}),
    }
    for name, door in doors.items():
        values[f"{name}_binds"] = "\n".join(_binds(name, door, balancer.certificate))
        values[f"{name}_servers"] = "\n".join(_servers(name, door.servers, "check"))
        values[f"{name}_unready"] = "\n".join(_servers(name, door.servers, ""))
    return _AtTemplate(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def _binds(name: str, door: Door, certificate: Path | None) -> Sequence[str]:
    found = []
    if door.plain is not None:
        found.append(f"    bind {_address(name, door.plain)}")
    if door.tls is not None:
        if certificate is None:
            raise BalancerError(f"{name}={door.tls} asks for TLS and there is no certificate: name its file")
        found.append(
            f"    bind {_address(name, door.tls)} ssl crt {_path('certificate', certificate)} alpn h2,http/1.1"
        )
    if not found:
        raise BalancerError(f"{name} has no address at which clients connect: name one")
    return found


def _servers(name: str, servers: Listed | Resolved, more: str) -> Sequence[str]:
    if isinstance(servers, Resolved):
        address = _address(name, servers.address)
        line = f"    server-template {name}- {servers.servers_max} {address} resolvers dns init-addr none {more}"
        return [line.rstrip()]
    if not servers.addresses:
        raise BalancerError(f"{name} has no process: name at least one host:port")
    # The id, by which a path finds its server, follows from the address, so that all balancers agree and the others
    # keep their videos when one comes or goes.
    return [
        f"    server {_name(address)} {_address(name, address)} id {_id(address)} {more}".rstrip()
        for address in servers.addresses
    ]


def _id(address: str) -> int:
    return zlib.crc32(address.encode()) % _IDS + 1


def _resolvers(doors: Iterable[Door]) -> str:
    if not any(isinstance(door.servers, Resolved) for door in doors):
        return ""
    return """
resolvers dns
    parse-resolv-conf
    # An answer with all addresses of many processes is larger than 512 bytes.
    accepted_payload_size 8192
    hold valid 5s
"""


def _forwarded(balancer: Balancer, times: Times) -> Sequence[str]:
    header = times.forwarded_header
    own = [f"    option forwardfor header {header}"]
    if balancer.keeps_forwarded:
        return own
    country = [f"    http-request del-header {times.country_header}"] if times.country_header else []
    return [f"    http-request del-header {header}", *country, *own]


def _name(address: str) -> str:
    return re.sub(r"[^\w.-]", "_", address)


def _address(field: str, address: str) -> str:
    if _ADDRESS.fullmatch(address) is None:
        raise BalancerError(f"{field}={address!r} is no host:port: name one such as ingest-1:8080")
    return address


def _path(field: str, path: Path) -> str:
    if _PATH.fullmatch(str(path)) is None:
        raise BalancerError(f"{field}={str(path)!r} has a sign that HAProxy would misread: choose another path")
    return f"'{path}'"
