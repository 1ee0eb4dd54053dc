"""What the shell or the system lets a process have, which all parts inherit: raised where that is allowed, or told.

Knows numbers of processes and files, not what parts do with them.
"""

import contextlib
import os
import resource
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """One of `ulimit`. `least` is what the stack needs; None: no limit at all, since a JVM cannot live with one."""

    number: int
    what: str
    option: str
    least: int | None


LIMITS = (
    # Kafka and Cassandra keep a file for each segment and table open, RocksDB all of its own, each client a socket.
    Limit(resource.RLIMIT_NOFILE, "open files", "-n", 4096),
    # Threads count: some 700 of the JVMs, and those of the Python workers.
    Limit(resource.RLIMIT_NPROC, "processes", "-u", 2048),
    Limit(resource.RLIMIT_AS, "KiB of virtual memory", "-v", None),
    Limit(resource.RLIMIT_DATA, "KiB of data", "-d", None),
    Limit(resource.RLIMIT_FSIZE, "blocks of a file", "-f", None),
    Limit(resource.RLIMIT_CPU, "seconds of CPU", "-t", None),
)
OPEN_FILES_WANTED = 65_536


def raise_limits() -> None:
    """As far as this process may: what is in force to what it may set, and as root above that, if need be."""
    for limit in LIMITS:
        soft, hard = resource.getrlimit(limit.number)
        files = limit.number == resource.RLIMIT_NOFILE
        # More files than anybody opens cost programs that go through all numbers.
        wanted = OPEN_FILES_WANTED if files else resource.RLIM_INFINITY
        if soft == resource.RLIM_INFINITY or (files and soft >= wanted):
            continue
        highest = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard) if files else hard
        attempts = [(wanted, wanted)] if _is_below(hard, wanted) else []
        for attempt in (*attempts, (highest, hard)):
            # Only root may raise a hard limit, and not in every container.
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(limit.number, attempt)
                break


def _is_below(limit: int, other: int) -> bool:
    infinity = resource.RLIM_INFINITY
    return limit != infinity and (other == infinity or limit < other)


def refused_limits() -> Iterable[str]:
    """A line for each that is too low, as they are in force now."""
    for limit in LIMITS:
        soft, _ = resource.getrlimit(limit.number)
        if soft == resource.RLIM_INFINITY or (limit.least is not None and soft >= limit.least):
            continue
        if limit.number == resource.RLIMIT_NPROC and os.geteuid() == 0:
            continue  # It does not hold for root.
        needed = "no limit can be worked with" if limit.least is None else f"{limit.least} are needed"
        yield (
            f"{soft} {limit.what} are allowed here (ulimit {limit.option}), {needed}: raise the hard limit, "
            "`ulimit -H` and /etc/security/limits.conf, or type this in another shell"
        )
