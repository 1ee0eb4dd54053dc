"""Restores a history whose manifest or register was lost. An operator runs it when no holder of the lease runs."""

from collections.abc import Collection

from udfs.logic.history.manifest import HistoryError
from udfs.logic.history.register import ABOVE_US, Register, check_path, token_of
from udfs.stores.history_register import Registers
from udfs.stores.history_store import HistoryStore


class RestoreError(HistoryError):
    """Nothing was lost, or there is nothing from which to restore. The text says which."""


def restore(registers: Registers, history: HistoryStore, path: str, shards: int, *, now_ms: int) -> str:
    """Put the newest complete manifest in force, and return its name. The next rollup writes every row again.

    It takes a manifest that the register names, or any that exists if the register was lost. While rows of the
    manifest in force are not written, the manifest before it is needed, too, since the two say which rows are missing.
    No process may hold the lease in the meantime: jobs and erasures must have ended, or their deadlines must have
    passed. Raises RestoreError.
    """
    old = registers.read()
    there = history.manifest_names()
    if old is not None:
        check_path(old, path)
        if not old.manifest or (old.manifest in there and not _lacks_the_one_before(old, history, there, shards)):
            raise RestoreError("nothing is lost: the register names a manifest that exists")
    candidates = [name for name in there if old is None or name in old.all_kept]
    token = max([old.token if old else 0, now_ms * 1000, *(token_of(name) for name in there), history.newest_token()])
    for name in sorted(candidates, reverse=True):
        if _is_whole(history, name, shards):
            made_ms = now_ms if old is None else old.made_ms
            if not registers.swap(old, Register(path, made_ms, token + ABOVE_US, "", name, (), None)):
                raise RestoreError(
                    "the register changed in the meantime, so a process holds the lease; wait until it has ended"
                )
            return name
    raise RestoreError(
        f"no manifest at {path} has all of its files: put back what is missing (`python -m tools.ops history verify` "
        "says what), or begin a new pair of keyspace and path (docs/rebuild.md)"
    )


def _is_whole(history: HistoryStore, name: str, shards: int) -> bool:
    """Whether a manifest can be read and all of its files exist."""
    try:
        return not history.missing_files(history.manifest(name, shards))
    except HistoryError:
        return False


def _lacks_the_one_before(register: Register, history: HistoryStore, there: Collection[str], shards: int) -> bool:
    """Whether rows are still to be written, and the manifest with which they must be compared is lost."""
    if register.applied is None or register.applied.manifest == register.manifest:
        return False
    before = history.manifest(register.manifest, shards).before
    return bool(before) and before not in there
