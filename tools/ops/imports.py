"""Commands for numbers that another counter has counted: import them, list them, remove them, copy them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tools.ops.operating import operating
from tools.ops.options import TIME_FORMATS, AsJson, milliseconds

if TYPE_CHECKING:
    from settings import Settings
    from tools.history.importing import Importer

app = typer.Typer()
kept = typer.Typer(no_args_is_help=True, help="List, remove or copy what was imported.")


@contextmanager
def _importer() -> Iterator[tuple["Settings", "Importer"]]:
    from cassandra import DriverException

    from connectors.cassandra import connect
    from tools.history.importing import Importer
    from udfs.logic.history.manifest import HistoryError
    from udfs.stores.archive import filesystem
    from udfs.stores.history_register import CassandraRegisters
    from udfs.stores.history_store import HistoryStore
    from udfs.stores.lease import LeaseLostError

    with operating(DriverException, HistoryError, LeaseLostError) as settings:
        session = connect(settings.cassandra)
        try:
            history = HistoryStore(filesystem(settings.s3), settings.history.path)
            yield settings, Importer(settings, history, CassandraRegisters(session))
        finally:
            session.cluster.shutdown()


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet: video_id, views, and kind, day, hour, source.")],
    *,
    name: Annotated[str | None, typer.Option(help="The name of the import. Otherwise it is the file's.")] = None,
    cut_over: Annotated[
        datetime | None,
        typer.Option(
            formats=TIME_FORMATS,
            help="All of it was viewed before this time (UTC). Otherwise it is the hour with which history begins.",
        ),
    ] = None,
    replace: Annotated[bool, typer.Option(help="Replace what is there under this name.")] = False,
    overlap: Annotated[
        bool, typer.Option(help="Allow rows whose times overlap history, another import or each other.")
    ] = False,
) -> None:
    """Add numbers of another counter to totals and days: they are in force when the command has ended."""
    from tools.history.import_files import read_import
    from tools.history.importing import cut_over_hour, told

    with _importer() as (_, importer):
        at_ms = milliseconds(cut_over)
        chosen = file.stem.lower() if name is None else name
        done = importer.add(
            chosen,
            read_import(file),
            cut_over=None if at_ms is None else cut_over_hour(at_ms),
            replace=replace,
            overlap=overlap,
        )
        typer.echo(f"{told(chosen, done.one)}; {'imported' if done.is_new else 'it was there already'}")


@kept.command("list")
def list_imports(*, as_json: AsJson = False) -> None:
    """List what is in force."""
    from tools.history import history_in_force
    from tools.history.importing import told
    from udfs.logic.history.manifest import HistoryError
    from udfs.stores.archive import filesystem
    from udfs.stores.history_store import HistoryStore

    with operating(HistoryError) as settings:
        manifest = history_in_force(settings, HistoryStore(filesystem(settings.s3), settings.history.path))
        if as_json:
            typer.echo(msgspec.json.encode(manifest.imports).decode())
            return
        for name, one in manifest.imports.items():
            typer.echo(told(name, one))
        if not manifest.imports:
            typer.echo("nothing was imported")


@kept.command()
def remove(name: Annotated[str, typer.Argument(help="The name of the import.")]) -> None:
    """Take an import out of totals and days again."""
    from tools.history.importing import told

    with _importer() as (_, importer):
        typer.echo(f"{told(name, importer.remove(name))}; removed")


@kept.command()
def copy(
    path: Annotated[str, typer.Argument(help="The path of the other history, such as s3://view-counts/history.")],
) -> None:
    """Import what another history has imported: a step of a rebuild."""
    from tools.history.importing import copy_imports
    from udfs.stores.archive import filesystem
    from udfs.stores.history_store import HistoryStore

    with _importer() as (settings, importer):
        names = copy_imports(importer, HistoryStore(filesystem(settings.s3), path))
        typer.echo(f"imported: {', '.join(names)}" if names else "that history has imported nothing")
