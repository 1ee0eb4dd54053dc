"""Raises the limits of processes and files that all parts inherit, as far as allowed, and reports those too low."""

import contextlib
import os
import resource
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """One limit of `ulimit`. `least` is what the stack needs. None means that a JVM cannot work with any limit."""

    number: int
    what: str
    option: str
    least: int | None


LIMITS = (
    # Kafka and Cassandra keep a file open for each segment and table, RocksDB all its files, and each client a socket.
    Limit(resource.RLIMIT_NOFILE, "open files", "-n", 4096),
    # Threads count as processes: the JVMs have about 700, and the Python workers have some more.
    Limit(resource.RLIMIT_NPROC, "processes", "-u", 2048),
    Limit(resource.RLIMIT_AS, "KiB of virtual memory", "-v", None),
    Limit(resource.RLIMIT_DATA, "KiB of data", "-d", None),
    Limit(resource.RLIMIT_FSIZE, "blocks of a file", "-f", None),
    Limit(resource.RLIMIT_CPU, "seconds of CPU", "-t", None),
)
OPEN_FILES_WANTED = 65_536


def raise_limits() -> None:
    """Raise the limits of this process as far as it may: up to the hard limit, and as root beyond it."""
    for limit in LIMITS:
        soft, hard = resource.getrlimit(limit.number)
        files = limit.number == resource.RLIMIT_NOFILE
        # The limit of files is not infinite, because some programs go through all possible numbers of files.
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
    """A line for each limit of this process that is too low."""
    for limit in LIMITS:
        soft, _ = resource.getrlimit(limit.number)
        if soft == resource.RLIM_INFINITY or (limit.least is not None and soft >= limit.least):
            continue
        if limit.number == resource.RLIMIT_NPROC and os.geteuid() == 0:
            continue  # This limit does not apply to root.
        needed = "a JVM works only without a limit" if limit.least is None else f"{limit.least} are needed"
        yield (
            f"{soft} {limit.what} are allowed here (ulimit {limit.option}), and {needed}: raise the hard limit, "
            "`ulimit -H` and /etc/security/limits.conf, or type this in another shell"
        )
