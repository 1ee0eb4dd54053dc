"""`python -m tools.history`, and `bin/vc history`: the register of history, as the settings say where."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer

from connectors.cassandra import CassandraAwayError, connect
from settings import Settings
from tools.history.in_force import history_in_force
from tools.history.making import make_register
from tools.history.repeating import repeats_told
from tools.history.restoring import restore as restore_history
from tools.history.verifying import verify as verify_history
from udfs.logic.history import HistoryError
from udfs.sinks.history_register import CassandraRegisters, has_totals
from udfs.sinks.history_store import HistoryStore
from udfs.sources.archive import filesystem

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help=__doc__)


@contextmanager
def _open() -> Iterator[tuple[Settings, Any, HistoryStore]]:
    settings = Settings()
    try:
        session = connect(settings.cassandra)
        try:
            yield settings, session, HistoryStore(filesystem(settings.s3), settings.history.path)
        finally:
            session.cluster.shutdown()
    except (CassandraAwayError, HistoryError, OSError) as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def init(
    *,
    begin_anew: Annotated[
        bool, typer.Option(help="Though the tables have totals and no history is left: begin with the archive.")
    ] = False,
) -> None:
    """Make the register, once; a history of an older version is carried on, when its jobs have ended."""
    with _open() as (settings, session, history):
        register = make_register(
            CassandraRegisters(session),
            history,
            settings.history.path,
            now_ms=int(time.time() * 1000),
            has_totals=lambda: has_totals(session),
            begin_anew=begin_anew,
        )
        typer.echo(f"history at {register.path}: {register.manifest or 'nothing has been counted yet'}")


@app.command()
def repeats(*, samples: Annotated[int, typer.Option(help="Of each hour and partition, so many.", min=0)] = 3) -> None:
    """Tell what bears the id of another event, by hour of arrival, a line of JSON for each slice that has some."""
    with _open() as (settings, _session, history):
        for one in repeats_told(history, history_in_force(settings, history), samples):
            typer.echo(json.dumps(one))


@app.command()
def show() -> None:
    """Show the register, in JSON."""
    with _open() as (_, session, _history):
        register = CassandraRegisters(session).read()
        typer.echo("there is no register" if register is None else msgspec.json.encode(register).decode())


@app.command()
def verify(*, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Hold history against its files, and say what is missing; exit code 1 when anything is."""
    with _open() as (settings, session, history):
        found = verify_history(CassandraRegisters(session), history, settings.history.path, settings.counting.shards)
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
def restore() -> None:
    """Put the newest whole manifest in force after the register, or its manifest, was lost. No job may run."""
    with _open() as (settings, session, history):
        name = restore_history(
            CassandraRegisters(session),
            history,
            settings.history.path,
            settings.counting.shards,
            now_ms=int(time.time() * 1000),
        )
        typer.echo(f"{name} is in force; run the rollup: answers are 503 until it has written every row")


if __name__ == "__main__":
    app()
