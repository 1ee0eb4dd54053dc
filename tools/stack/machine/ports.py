"""Every port the stack listens on: its name, its usual number, the environment variable that changes it."""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

HOST = "127.0.0.1"
ENVIRONMENT_PREFIX = "VIEW_COUNTS_PORT_"

# The numbers people expect; SeaweedFS's own rule for its gRPC ports is the HTTP port + 10000.
DEFAULT_PORTS: Mapping[str, int] = {
    "ingest": 8080,
    "query": 8090,
    "flink": 8081,
    "flink_rpc": 6123,
    "flink_blob": 6124,
    "jobmanager_metrics": 9249,
    "taskmanager_metrics": 9250,
    "zookeeper": 2181,
    "kafka": 9092,
    "kafka_controller": 9093,
    "cassandra": 9042,
    "cassandra_storage": 7000,
    "cassandra_jmx": 7199,
    "s3": 8333,
    "s3_grpc": 18333,
    "seaweed_master": 9333,
    "seaweed_master_grpc": 19333,
    "seaweed_volume": 8085,
    "seaweed_volume_grpc": 18085,
    "seaweed_filer": 8888,
    "seaweed_filer_grpc": 18888,
}

# Below Linux's range for outgoing connections (32768 and up), so that no client of a running stack can take
# the port of one about to start; above the ports that people know.
FREE_PORT_FIRST, FREE_PORT_LAST = 20_000, 32_000
PORTS_AT_ONCE = 40
# Held until this process ends.
_claims: list[IO[bytes]] = []


class PortSettingError(ValueError):
    """A port variable holds something that is no port."""


def environment_variable(name: str) -> str:
    """The variable that sets the port called `name`."""
    return ENVIRONMENT_PREFIX + name.upper()


def is_busy(port: int) -> bool:
    """Whether something listens on the port already."""
    with socket.socket() as probe:
        # As the servers do; else a connection in TIME_WAIT after a restart would count as busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def default_ports(environment: Mapping[str, str] = os.environ) -> dict[str, int]:
    """The usual ports, or what VIEW_COUNTS_PORT_<NAME> says. Raises PortSettingError."""
    ports = dict(DEFAULT_PORTS)
    for name in ports:
        variable = environment_variable(name)
        text = environment.get(variable)
        if text is None:
            continue
        if not text.isdecimal() or not 1 <= int(text) <= 65_535:
            raise PortSettingError(f"{variable}={text!r} is no port: set a number from 1 to 65535, or unset it")
        ports[name] = int(text)
    return ports


def free_ports(names: Iterable[str] = DEFAULT_PORTS) -> dict[str, int]:
    """A free port for every name, for as long as this process lives.

    They are of a block of ports that no other process of this user takes meanwhile: a part that is down for a moment
    listens on none of its ports, and gets them back all the same. Raises OSError when every block is taken.
    """
    wanted = list(names)
    firsts = range(FREE_PORT_FIRST, FREE_PORT_LAST, PORTS_AT_ONCE)
    for first in random.SystemRandom().sample(firsts, len(firsts)):
        claim = _claim(first)
        if claim is None:
            continue
        free = [port for port in range(first, first + PORTS_AT_ONCE) if not is_busy(port)]
        if len(free) >= len(wanted):
            _claims.append(claim)
            return dict(zip(wanted, free, strict=False))
        claim.close()
    raise OSError(f"no {len(wanted)} ports from {FREE_PORT_FIRST} to {FREE_PORT_LAST} are free: end other stacks")


def _claim(first: int) -> IO[bytes] | None:
    """The lock of a block, which ends with the process or when it is closed; None: another process has it."""
    folder = Path(tempfile.gettempdir(), f"view-counts-ports-{os.geteuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    claim = (folder / str(first)).open("ab")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        claim.close()
        return None
    return claim
