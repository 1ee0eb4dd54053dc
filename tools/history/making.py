"""Makes the register of a keyspace, once: of a new pair of keyspace and path, or of a history of versions 1 to 3."""

import secrets
from collections.abc import Callable

import msgspec

from udfs.logic.history.manifest import HistoryError, Manifest
from udfs.logic.history.register import ABOVE_US, Register, check_path, manifest_name, nothing_applied
from udfs.stages.rollup_end import applied_of
from udfs.stores.history_register import Registers
from udfs.stores.history_store import HistoryStore


class RegisterThereError(HistoryError):
    """There is something that a new register would forget; the text says what to do."""


def make_register(
    registers: Registers,
    history: HistoryStore,
    path: str,
    *,
    now_ms: int,
    has_totals: Callable[[], bool],
    begin_anew: bool = False,
) -> Register:
    """The register, made if there is none. A history that was written without one is carried on.

    Jobs of a version without a register must have ended. `begin_anew`: where the tables have totals and there is no
    history, new totals are to replace them. Raises RegisterThereError where the register was lost, or the history is;
    HistoryError when there is a register of another path.
    """
    there = registers.read()
    if there is not None:
        check_path(there, path)
        return there
    if history.manifest_names():
        raise RegisterThereError(
            f"{path} has a history, and this keyspace has no register, so that it was lost: type `python -m "
            "tools.ops history restore`, or use a path of its own for a new keyspace"
        )
    # An hour above all write times before: those of versions without a register are the clock's.
    token = now_ms * 1000 + ABOVE_US
    old = history.copied()
    if old is None:
        if has_totals() and not begin_anew:
            raise RegisterThereError(
                f"the keyspace has totals, and there is no history at {path}: set VIEW_COUNTS_HISTORY_PATH to where "
                "it is, or restore it; `python -m tools.ops history init --begin-anew` replaces the totals by what the "
                "archive still has"
            )
        made = Register(path, now_ms, token, "", "", (), None if begin_anew and has_totals() else nothing_applied())
    else:
        made = _carried_on(history, old, path, token, now_ms)
    if not registers.swap(None, made):
        there = registers.read()
        assert there is not None
        check_path(there, path)
        return there
    return made


def _carried_on(history: HistoryStore, old: Manifest, path: str, token: int, now_ms: int) -> Register:
    """A register of the history that a version without one has left, whose rows were written before its manifest."""
    name = manifest_name(token, secrets.token_hex(4))
    manifest = msgspec.structs.replace(old, token=token, made_ms=now_ms)
    history.put_manifest(name, manifest)
    return Register(path, now_ms, token, "", name, (), applied_of(name, manifest, []))
