"""Makes the register of a keyspace once: for a new pair of keyspace and path, or for a history of versions 1 to 3."""

import secrets
from collections.abc import Callable

import msgspec

from udfs.logic.history.manifest import HistoryError, Manifest
from udfs.logic.history.register import ABOVE_US, Register, check_path, manifest_name, nothing_applied
from udfs.stages.rollup_end import applied_of
from udfs.stores.history_register import Registers
from udfs.stores.history_store import HistoryStore


class RegisterThereError(HistoryError):
    """There is a history or there are totals that a new register would ignore. The text says what to do."""


def make_register(
    registers: Registers,
    history: HistoryStore,
    path: str,
    *,
    now_ms: int,
    has_totals: Callable[[], bool],
    begin_anew: bool = False,
) -> Register:
    """The register of the keyspace, which is made if there is none.

    If a version without a register has written a history, the register takes it over; jobs of that version must have
    ended. If the tables have totals and there is no history, `begin_anew` allows new totals to replace them. Raises
    RegisterThereError if the register or the history was lost, and HistoryError if the register is of another path.
    """
    there = registers.read()
    if there is not None:
        check_path(there, path)
        return there
    if history.manifest_names():
        raise RegisterThereError(
            f"{path} has a history, and this keyspace has no register, so the register was lost: run `python -m "
            "tools.ops history restore`, or use another path for a new keyspace"
        )
    # This is an hour above all earlier write timestamps, which versions without a register took from the clock.
    token = now_ms * 1000 + ABOVE_US
    old = history.copied()
    if old is None:
        if has_totals() and not begin_anew:
            raise RegisterThereError(
                f"the keyspace has totals, and there is no history at {path}: set VIEW_COUNTS_HISTORY_PATH to its "
                "path, or restore it; `python -m tools.ops history init --begin-anew` replaces the totals by what the "
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
    """A register for the history of a version without one. Such a version wrote all rows before the manifest."""
    name = manifest_name(token, secrets.token_hex(4))
    manifest = msgspec.structs.replace(old, token=token, made_ms=now_ms)
    history.put_manifest(name, manifest)
    return Register(path, now_ms, token, "", name, (), applied_of(name, manifest, []))
