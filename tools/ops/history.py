"""Commands for the register of history, which names the manifest in force: make, show, verify, restore."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import typer

from settings import Settings
from tools.ops.operating import operating
from tools.ops.options import AsJson

if TYPE_CHECKING:
    from udfs.stores.history_register import CassandraRegisters
    from udfs.stores.history_store import HistoryStore

app = typer.Typer(no_args_is_help=True, help="Make, show, verify or restore the register of history.")


class _Opened(NamedTuple):
    settings: Settings
    session: Any
    registers: "CassandraRegisters"
    history: "HistoryStore"


@contextmanager
def _opened() -> Iterator[_Opened]:
    from cassandra import DriverException

    from connectors.cassandra import connect
    from udfs.logic.history.manifest import HistoryError
    from udfs.stores.archive import filesystem
    from udfs.stores.history_register import CassandraRegisters
    from udfs.stores.history_store import HistoryStore

    with operating(DriverException, HistoryError) as settings:
        session = connect(settings.cassandra)
        try:
            history = HistoryStore(filesystem(settings.s3), settings.history.path)
            yield _Opened(settings, session, CassandraRegisters(session), history)
        finally:
            session.cluster.shutdown()


@app.command()
def init(
    *,
    begin_anew: Annotated[
        bool,
        typer.Option(
            help="Begin with what the archive has, although the tables have totals and there is no history for them."
        ),
    ] = False,
) -> None:
    """Make the register once. It takes over the history of an older version, whose jobs must have ended."""
    from tools.history import make_register
    from udfs.stores.history_register import has_totals

    with _opened() as (settings, session, registers, history):
        register = make_register(
            registers,
            history,
            settings.history.path,
            now_ms=_now_ms(),
            has_totals=lambda: has_totals(session),
            begin_anew=begin_anew,
        )
        typer.echo(f"history at {register.path}: {register.manifest or 'nothing has been counted yet'}")


@app.command()
def show() -> None:
    """Show the register, in JSON."""
    with _opened() as (_, _, registers, _):
        register = registers.read()
        typer.echo("there is no register" if register is None else msgspec.json.encode(register).decode())


@app.command()
def verify(*, as_json: AsJson = False) -> None:
    """Check that every file of the kept manifests exists. The exit code is 1 if anything is missing."""
    from tools.history import verify as verify_history

    with _opened() as (settings, _, registers, history):
        found = verify_history(registers, history, settings.history.path, settings.counting.shards)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        typer.echo(f"in force: {found.manifest or 'nothing'}, revision {found.revision}")
        for name in found.missing_manifests:
            typer.echo(f"missing: {name}, a manifest")
        for name, paths in found.missing_files.items():
            typer.echo(f"missing: {len(paths)} files of {name}: {', '.join(paths[:5])}")
        typer.echo(f"{found.unnamed} files are named by no kept manifest; the next rollup deletes them")
        if found.owes_rows:
            typer.echo("rows of the manifest in force are not all written; the next rollup writes them")
    raise typer.Exit(0 if found.is_whole else 1)


@app.command()
def repeats(
    *, samples: Annotated[int, typer.Option(help="Show up to this many of each hour and partition.", min=0)] = 3
) -> None:
    """Show events that have the id of another event: a line of JSON for each hour of arrival and partition."""
    from tools.history import history_in_force
    from tools.history.repeating import repeats_told

    with _opened() as (settings, _, _, history):
        for one in repeats_told(history, history_in_force(settings, history), samples):
            typer.echo(json.dumps(one))


@app.command()
def restore() -> None:
    """Put the newest complete manifest in force after the register or its manifest was lost. No job may run."""
    from tools.history import restore as restore_history

    with _opened() as (settings, _, registers, history):
        name = restore_history(registers, history, settings.history.path, settings.counting.shards, now_ms=_now_ms())
        typer.echo(f"{name} is in force; run the rollup: answers are 503 until it has written every row")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
