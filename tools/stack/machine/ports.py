"""Every port of the stack: its name, its default number, and the environment variable that changes it."""

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

# The usual numbers. SeaweedFS's gRPC ports are its HTTP ports + 10000, by its own rule.
DEFAULT_PORTS: Mapping[str, int] = {
    # Where clients connect, to the balancer, and the processes behind it.
    "ingest": 8080,
    "ingest_tls": 8443,
    "query": 8090,
    "query_tls": 8493,
    "balancer_private": 8404,
    "ingest_1": 8101,
    "ingest_private": 8180,
    "ingest_2": 8102,
    "ingest_2_private": 8182,
    "query_1": 8111,
    "query_private": 8190,
    "query_2": 8112,
    "query_2_private": 8192,
    "drain_private": 8195,
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
    "redis": 6379,
    "s3": 8333,
    "s3_grpc": 18333,
    "seaweed_master": 9333,
    "seaweed_master_grpc": 19333,
    "seaweed_volume": 8085,
    "seaweed_volume_grpc": 18085,
    "seaweed_filer": 8888,
    "seaweed_filer_grpc": 18888,
}

# These are below Linux's range for outgoing connections (32768 and up), so that no client can take the port of a stack
# that is about to start. They are above the well-known ports.
FREE_PORT_FIRST, FREE_PORT_LAST = 20_000, 32_000
PORTS_AT_ONCE = 40
# The locks of blocks of ports. They are held until this process ends.
_claims: list[IO[bytes]] = []


class PortSettingError(ValueError):
    """The value of a port variable is not a port."""


def environment_variable(name: str) -> str:
    """The variable that sets the port called `name`."""
    return ENVIRONMENT_PREFIX + name.upper()


def is_busy(port: int) -> bool:
    """Whether something listens on the port already."""
    with socket.socket() as probe:
        # The servers set this option, too. Without it a connection in TIME_WAIT after a restart would count as busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def default_ports(environment: Mapping[str, str] = os.environ) -> dict[str, int]:
    """The default ports, with what VIEW_COUNTS_PORT_<NAME> says. Raises PortSettingError."""
    ports = dict(DEFAULT_PORTS)
    for name in ports:
        variable = environment_variable(name)
        text = environment.get(variable)
        if text is None:
            continue
        if not text.isdecimal() or not 1 <= int(text) <= 65_535:
            raise PortSettingError(f"{variable}={text!r} is not a port: set a number from 1 to 65535, or unset it")
        ports[name] = int(text)
    return ports


def free_ports(names: Iterable[str] = DEFAULT_PORTS) -> dict[str, int]:
    """A free port for every name, which stays reserved as long as this process lives.

    The ports are of a block that no other process of this user can reserve. So a part that is down for a moment, and
    does not listen on its ports, still gets them back. Raises OSError if every block is taken.
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
    """The lock of a block, which is held until it is closed or the process ends; None if another process has it."""
    folder = Path(tempfile.gettempdir(), f"view-counts-ports-{os.geteuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    claim = (folder / str(first)).open("ab")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        claim.close()
        return None
    return claim
