"""Checks whether a part is ready, by one short request over the part's own protocol. A request changes nothing.

Each check takes a few seconds at most, and never raises for a part that is away.
"""

import http.client
import socket
import struct
import urllib.error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from tools.stack.machine.local_http import get_json, open_local
from tools.stack.machine.ports import HOST

TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Probe:
    """What a check may use: the stack's ports, and the process id of the part's main process."""

    ports: Mapping[str, int]
    pid: int


ReadyCheck = Callable[[Probe], bool]


def http_get_json(url: str) -> Any:
    """The decoded answer, or None if there is none with status 200."""
    return get_json(url, timeout_s=TIMEOUT_S)


def _ask(port: int, question: bytes, answer_bytes_max: int) -> bytes:
    """Send a request and read once, which is enough for short answers. Returns b"" if there is no answer."""
    try:
        with socket.create_connection((HOST, port), timeout=TIMEOUT_S) as connection:
            connection.sendall(question)
            return connection.recv(answer_bytes_max)
    except OSError:
        return b""


def http_ok(port_name: str, path: str) -> ReadyCheck:
    """Ready when a GET is answered with 200."""

    def check(probe: Probe) -> bool:
        return _status(probe.ports[port_name], path) == 200

    return check


def zookeeper(probe: Probe) -> bool:
    """Ready when it serves clients. While it loads its data, it answers that it does not."""
    return b"Mode: standalone" in _ask(probe.ports["zookeeper"], b"srvr", 4096)


def kafka(probe: Probe) -> bool:
    """Ready when ApiVersions is answered without an error: the broker is unfenced by then."""
    correlation = 7
    # Key 18, version 0, correlation id, no client id.
    body = struct.pack(">hhih", 18, 0, correlation, -1)
    answer = _ask(probe.ports["kafka"], struct.pack(">i", len(body)) + body, 4096)
    return len(answer) >= 10 and struct.unpack_from(">ih", answer, 4) == (correlation, 0)


def cassandra(probe: Probe) -> bool:
    """Ready when OPTIONS is answered with SUPPORTED: the port opens only when the node serves clients."""
    answer = _ask(probe.ports["cassandra"], b"\x04\x00\x00\x00\x05\x00\x00\x00\x00", 4096)
    return len(answer) >= 5 and answer[4] == 0x06


def redis(probe: Probe) -> bool:
    """Ready when PING is answered: a server that has no password answers everybody."""
    return _ask(probe.ports["redis"], b"PING\r\n", 64) == b"+PONG\r\n"


def seaweedfs(probe: Probe) -> bool:
    """Ready when S3 answers and the volume server has reported to the master, without which writes fail."""
    status = http_get_json(f"http://{HOST}:{probe.ports['seaweed_master']}/dir/status") or {}
    centers = (status.get("Topology") or {}).get("DataCenters")
    s3_answers = _status(probe.ports["s3"], "/") is not None
    return bool(centers) and s3_answers and _status(probe.ports["seaweed_filer"], "/") == 200


def _status(port: int, path: str) -> int | None:
    try:
        with open_local(f"http://{HOST}:{port}{path}", timeout_s=TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return None


def jobmanager(probe: Probe) -> bool:
    """Ready when the dispatcher answers. It does so only when this process is the leader."""
    return http_get_json(f"http://{HOST}:{probe.ports['flink']}/overview") is not None


def taskmanager(probe: Probe) -> bool:
    """Ready when the JobManager knows this process.

    A killed TaskManager stays in the JobManager's list for a while, and its successor has the same name. So the
    registered address is compared with the ports on which the process listens.
    """
    answer = http_get_json(f"http://{HOST}:{probe.ports['flink']}/taskmanagers") or {}
    # "pekko.tcp://flink@127.0.0.1:45123/user/rpc/taskmanager_0"
    paths = [entry["path"] for entry in answer.get("taskmanagers", ())]
    registered = {int(path.rpartition(":")[2].partition("/")[0]) for path in paths}
    try:
        connections = psutil.Process(probe.pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port in registered for c in connections)
