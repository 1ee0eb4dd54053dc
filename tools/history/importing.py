"""Imports numbers of another counter into history, replaces and removes them: each time one step under the lease."""

import re
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pyarrow as pa

from settings import Settings
from settings.durations import HOUR_MS
from udfs.logic.history.imports import ImportRefusedError, check, digest, first_hour
from udfs.logic.history.manifest import HistoryError, Import, Manifest, Owed, hour_start, import_name, made_by
from udfs.logic.history.register import Register, manifest_name
from udfs.stages.rollup_start import settle
from udfs.stores.history_register import Registers
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import LeaseHolder

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class Done(NamedTuple):
    """What an import has done. `is_new` is False if the same rows were there under this name already."""

    one: Import
    is_new: bool


class Importer:
    """Changes the imports of one history. Raises HistoryError, LeaseLostError, and errors of the stores."""

    def __init__(
        self,
        settings: Settings,
        history: HistoryStore,
        registers: Registers,
        *,
        now_s: Callable[[], float] = time.time,
        holder: Callable[..., LeaseHolder] = LeaseHolder,
    ) -> None:
        self._settings = settings
        self._history = history
        self._registers = registers
        self._now_s = now_s
        self._holder = holder

    def add(
        self, name: str, table: pa.Table, *, cut_over: int | None = None, replace: bool = False, overlap: bool = False
    ) -> Done:
        """Put an import in force under a name, and write its rows.

        Its views were viewed before the hour `cut_over` since 1970; None stands for the hour with which history begins.
        See udfs.logic.history.imports.check for `overlap`. Other rows under the same name need `replace`.
        """
        check_name(name)
        sha256 = digest(table)
        with self._lease() as held:
            register, before = self._settled(held)
            first = first_hour(before, register.made_ms)
            cut_over = first if cut_over is None else cut_over
            there = before.imports.get(name)
            if there is not None and (there.sha256, there.cut_over) == (sha256, cut_over):
                return Done(there, is_new=False)
            if there is not None and not replace:
                raise ImportRefusedError(
                    f"name={name} has another file already, of {there.rows} rows and {there.views} views: choose "
                    "another name, or say --replace"
                )
            others = {of: self._history.get(one.path) for of, one in before.imports.items() if of != name}
            check(table, cut_over, others, first, overlap=overlap)
            path = import_name(name, made_by(held.lease.token, secrets.token_hex(4)))
            self._history.put(path, table)
            views = int(table["views"].to_numpy().sum())
            one = Import(path, sha256, cut_over, table.num_rows, views, int(self._now_s() * 1000))
            self._publish(held, register, before, name, before.imports | {name: one})
        return Done(one, is_new=True)

    def remove(self, name: str) -> Import:
        """Take an import out of force, and write its rows without it."""
        with self._lease() as held:
            register, before = self._settled(held)
            one = before.imports.get(name)
            if one is None:
                known = ", ".join(sorted(before.imports)) or "there is none"
                raise ImportRefusedError(f"name={name} is no import; choose one of: {known}")
            left = {of: other for of, other in before.imports.items() if of != name}
            self._publish(held, register, before, name, left)
        return one

    # --- below

    def _lease(self) -> LeaseHolder:
        return self._holder(
            self._registers, self._settings.history.path, "import", deadline_s=self._settings.history.deadline_s
        )

    def _settled(self, held: LeaseHolder) -> tuple[Register, Manifest]:
        """The register and the manifest in force, whose rows are all written."""
        if held.register.applied is None:
            raise HistoryError(
                "history was restored, and its rows are not in the tables yet: run the rollup, and then import again"
            )
        register = settle(self._settings, self._history, held.register, held.lease)
        return register, self._history.manifest(register.manifest, self._settings.counting.shards)

    def _publish(
        self, held: LeaseHolder, register: Register, before: Manifest, name: str, imports: dict[str, Import]
    ) -> None:
        manifest = msgspec.structs.replace(
            before,
            token=held.lease.token,
            before=register.manifest,
            made_ms=int(self._now_s() * 1000),
            owed=Owed(imports=[name]),
            imports=dict(sorted(imports.items())),
        )
        path = manifest_name(held.lease.token, secrets.token_hex(4))
        self._history.put_manifest(path, manifest)
        held.lease.publish(path)
        self._history.copy(manifest)
        # Rows follow. If this process dies, whoever takes the lease next writes them.
        settle(self._settings, self._history, held.lease.check(), held.lease)


def copy_imports(importer: Importer, source: HistoryStore) -> list[str]:
    """Import all that another history has imported, with its cut-overs, for a rebuild. Returns the names.

    What is there under the same name and is the same is left as it is.
    """
    manifest = source.copied()
    if manifest is None:
        raise ImportRefusedError("there is no manifest.json at that path; name the path of a history")
    for name, one in manifest.imports.items():
        # It was checked when it was imported, against the history that the new one replaces.
        importer.add(name, source.get(one.path), cut_over=one.cut_over, overlap=True)
    return list(manifest.imports)


def cut_over_hour(at_ms: int) -> int:
    """The hour since 1970 that begins at this time. Raises ImportRefusedError for any other time."""
    if at_ms % HOUR_MS:
        raise ImportRefusedError(f"cut-over={at_ms} ms is no whole hour; name the beginning of an hour of UTC")
    return at_ms // HOUR_MS


def check_name(name: str) -> None:
    """Raise ImportRefusedError for what cannot be the name of an import, which is a part of a path."""
    if NAME.fullmatch(name) is None:
        raise ImportRefusedError(
            f"name={name!r:.80} is no name of an import: use at most 64 small letters, digits, dots, dashes and "
            "underscores, and begin with a letter or a digit"
        )


def told(name: str, one: Import) -> str:
    """An import in one line, for people."""
    return f"{name}: {one.views} views in {one.rows} rows, viewed before {hour_start(one.cut_over):%Y-%m-%dT%H:%MZ}"
