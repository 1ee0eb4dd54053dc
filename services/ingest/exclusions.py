"""The exclusions that are in force: those of a file, which is read again whenever it changes. Knows no HTTP."""

import asyncio
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Gauge

from schemas.exclusions import ExclusionsError, Networks, decode

LOG = structlog.get_logger("exclusions")
RELOAD_S = 1.0


class Exclusions:
    """The rules. Call `load` before the first request, and let `watch` run while the process lives.

    Without a file there are none.
    """

    def __init__(self, file: str, registry: CollectorRegistry) -> None:
        self._path = Path(file) if file else None
        self._networks = Networks()
        self._version: tuple[int, int, int] | None = None
        self._refused: str | None = None
        self._gauge = Gauge(
            "view_counts_ingest_exclusions_unreadable",
            "1 while the file of exclusions cannot be read, so that an older version of it is in force.",
            registry=registry,
        )

    @property
    def is_empty(self) -> bool:
        """Whether no address is in any rule."""
        return not len(self._networks)

    def rule_of(self, address: IPv4Address | IPv6Address) -> str | None:
        """The name of the rule of this address; None if there is none."""
        return self._networks.rule_of(address)

    def load(self) -> None:
        """Read the file. Raises ExclusionsError; a process that is to mark views does not start without its rules."""
        if self._path is not None:
            self._version = _version(self._path)
            self._networks = _read(self._path)

    async def watch(self) -> None:
        """Read the file again whenever it changes, until the task is cancelled."""
        while self._path is not None:
            await asyncio.sleep(RELOAD_S)
            # Thousands of rules take longer than the loop may stand still.
            await asyncio.to_thread(self.reload)

    def reload(self) -> None:
        """Take a new version of the file. One that cannot be read leaves the old one in force, and raises an alarm."""
        if self._path is None:
            return
        version = _version(self._path)
        if version is not None and version == self._version:
            return
        try:
            self._networks = _read(self._path)
        except ExclusionsError as error:
            if str(error) != self._refused:
                text = "the new version of the file of exclusions is not taken, the old one is in force"
                LOG.error(text, error=str(error))  # noqa: TRY400 - the sentence says all, and a trace nothing more
            self._refused = str(error)
            self._gauge.set(1)
            return
        # The version is that of before the read. So a change during the read is found the next time.
        self._version = version
        self._refused = None
        self._gauge.set(0)
        LOG.info("exclusions are read", networks=len(self._networks))


def _read(path: Path) -> Networks:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExclusionsError(f"ingest.exclusions_file={path} cannot be read: {error.strerror}") from error
    try:
        return decode(content)
    except ExclusionsError as error:
        raise ExclusionsError(f"ingest.exclusions_file={path}: {error}") from error


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
