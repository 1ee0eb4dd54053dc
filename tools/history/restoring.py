"""Restores a history whose manifest or register was lost: an explicit step, when no holder can live any more."""

from collections.abc import Collection

from udfs.logic.history.manifest import HistoryError
from udfs.logic.history.register import ABOVE_US, Register, check_path, token_of
from udfs.stores.history_register import Registers
from udfs.stores.history_store import HistoryStore


class RestoreError(HistoryError):
    """There is nothing to restore, or nothing to restore it from; the text says which."""


def restore(registers: Registers, history: HistoryStore, path: str, shards: int, *, now_ms: int) -> str:
    """Put the newest manifest that is whole in force; its name. The next rollup writes every row anew.

    Of those that the register names; of all that are there, if it was lost. Lost is also the one before that in force
    while rows of that are owed, since nobody can say any more which they are. Nobody may hold the lease meanwhile: jobs
    and erasures have ended, or their deadlines passed. Raises RestoreError.
    """
    old = registers.read()
    there = history.manifest_names()
    if old is not None:
        check_path(old, path)
        if not old.manifest or (old.manifest in there and not _lacks_the_one_before(old, history, there, shards)):
            raise RestoreError("nothing is lost: the register names a manifest that is there")
    candidates = [name for name in there if old is None or name in old.all_kept]
    token = max([old.token if old else 0, now_ms * 1000, *(token_of(name) for name in there), history.newest_token()])
    for name in sorted(candidates, reverse=True):
        if _is_whole(history, name, shards):
            made_ms = now_ms if old is None else old.made_ms
            if not registers.swap(old, Register(path, made_ms, token + ABOVE_US, "", name, (), None)):
                raise RestoreError("the register changed meanwhile: somebody holds the lease; wait until it has ended")
            return name
    raise RestoreError(
        f"no manifest at {path} has all of its files: put back what is missing (`python -m tools.ops history verify` "
        "says what), or begin a new pair of keyspace and path (docs/rebuild.md)"
    )


def _is_whole(history: HistoryStore, name: str, shards: int) -> bool:
    """Whether a manifest can be read, and all of its files are there."""
    try:
        return not history.missing_files(history.manifest(name, shards))
    except HistoryError:
        return False


def _lacks_the_one_before(register: Register, history: HistoryStore, there: Collection[str], shards: int) -> bool:
    """Whether rows are owed against a manifest that is lost."""
    if register.applied is None or register.applied.manifest == register.manifest:
        return False
    before = history.manifest(register.manifest, shards).before
    return bool(before) and before not in there
