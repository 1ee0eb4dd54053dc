"""Compares the manifests that the register names with the files that exist, and says what is missing."""

import msgspec

from udfs.logic.history.manifest import HistoryError
from udfs.stores.history_register import Registers
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import checked


class Findings(msgspec.Struct, frozen=True):
    """What `verify` found.

    `missing_files` are the missing files of each kept manifest. `unnamed` is the number of files that no kept manifest
    names. `owes_rows` says whether rows of the manifest in force are still to be written.
    """

    manifest: str
    revision: int
    missing_manifests: list[str]
    missing_files: dict[str, list[str]]
    unnamed: int
    owes_rows: bool

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing_manifests and not self.missing_files


def verify(registers: Registers, history: HistoryStore, path: str, shards: int) -> Findings:
    """Check all that the register names. Raises HistoryError if there is no register, or if it is of another path."""
    register = checked(registers.read(), path)
    there = set(history.manifest_names())
    missing, named = {}, set(register.all_kept)
    for name in register.all_kept:
        if name not in there:
            continue
        try:
            manifest = history.manifest(name, shards)
        except HistoryError as error:
            missing[name] = [str(error)]
            continue
        named |= manifest.all_files
        if gone := history.missing_files(manifest):
            missing[name] = gone
    return Findings(
        manifest=register.manifest,
        revision=0 if register.applied is None else register.applied.revision,
        missing_manifests=[name for name in register.all_kept if name not in there],
        missing_files=missing,
        unnamed=len([path for path in history.data_files() if path not in named]),
        owes_rows=register.applied is None or register.applied.manifest != register.manifest,
    )
