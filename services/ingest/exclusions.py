"""The exclusions that are in force: those of a file, which is read again whenever it changes. Knows no HTTP."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from prometheus_client import CollectorRegistry

from connectors.setting_files import read_decoded
from schemas.exclusions import ExclusionsError, Networks, decode
from services.watched_file import WatchedFile


class Exclusions:
    """The rules, of which there are none without a file. The `file` is to be loaded first, and watched."""

    def __init__(self, file: str, registry: CollectorRegistry) -> None:
        self._networks = Networks()
        self.file = WatchedFile(
            Path(file) if file else None,
            "the file of exclusions",
            read=_read,
            take=self._take,
            error=ExclusionsError,
            metric="ingest_exclusions",
            registry=registry,
        )

    @property
    def is_empty(self) -> bool:
        """Whether no address is in any rule."""
        return not len(self._networks)

    def rule_of(self, address: IPv4Address | IPv6Address) -> str | None:
        """The name of the rule of this address; None if there is none."""
        return self._networks.rule_of(address)

    def _take(self, networks: Networks) -> None:
        self._networks = networks


def _read(path: Path) -> Networks:
    return read_decoded("ingest.exclusions_file", path, decode, ExclusionsError)
