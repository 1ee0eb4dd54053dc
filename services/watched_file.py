"""A file that a process reads again whenever it changes. Knows neither HTTP nor what the file says."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Gauge

LOG = structlog.get_logger("files")
RELOAD_S = 1.0

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """Hands each version of a file to `take`. Call `load` first, and let `watch` run while the process lives.

    `read` reads the file, and raises `error` if it cannot be used. Then the version before stays in force, the log says
    why, and the metric `view_counts_<metric>_unreadable` is 1. `what` names the file to operators. Without a path there
    is nothing to read.
    """

    def __init__(
        self,
        path: Path | None,
        what: str,
        *,
        read: Callable[[Path], T],
        take: Callable[[T], None],
        error: type[Exception],
        metric: str,
        registry: CollectorRegistry,
    ) -> None:
        self._path = path
        self._what = what
        self._read = read
        self._take = take
        self._error = error
        self._version: tuple[int, int, int] | None = None
        self._refused: str | None = None
        self._gauge = Gauge(
            f"view_counts_{metric}_unreadable",
            f"1 while {what} cannot be read, so that an older version of it is in force.",
            registry=registry,
        )

    def load(self) -> None:
        """Read the file. Raises the error of `read`: a process does not start without what it needs."""
        if self._path is not None:
            version = _version(self._path)
            self._take(self._read(self._path))
            self._version = version

    async def watch(self) -> None:
        """Read the file again whenever it changes, until the task is cancelled."""
        while self._path is not None:
            await asyncio.sleep(RELOAD_S)
            # A large file takes longer than the loop may stand still. What it says is taken on the loop.
            content = await asyncio.to_thread(self._changed)
            if content is not None:
                self._take(content)

    def reload(self) -> None:
        """Take a new version of the file, if there is one that can be read."""
        content = self._changed()
        if content is not None:
            self._take(content)

    def _changed(self) -> T | None:
        """What a new version says; None if there is no new one, or none that can be read."""
        if self._path is None:
            return None
        version = _version(self._path)
        if version is not None and version == self._version:
            return None
        try:
            content = self._read(self._path)
        except self._error as error:
            if str(error) != self._refused:
                text = f"the new version of {self._what} is not taken, the old one is in force"
                LOG.error(text, error=str(error))  # noqa: TRY400 - the sentence says all, and a trace nothing more
            self._refused = str(error)
            self._gauge.set(1)
            return None
        # The version is that of before the read. So a change during the read is found the next time.
        self._version = version
        self._refused = None
        self._gauge.set(0)
        LOG.info(f"a new version of {self._what} is read")
        return content


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
