"""`python -m tools.iceberg`: updates the Iceberg tables of history to the manifest in force. Settings say where."""

from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from connectors.cassandra import CassandraAwayError
from settings import Settings
from tools.history import history_in_force
from tools.iceberg import Stores, TableError, publish_tables
from udfs.logic.history.manifest import HistoryError
from udfs.stores.archive import filesystem
from udfs.stores.conditional_files import S3Files
from udfs.stores.history_store import HistoryStore

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def publish(
    *, rebuild: Annotated[bool, typer.Option(help="Make every table again from the manifest alone.")] = False
) -> None:
    """Update every table to the manifest in force. Tables that are up to date do not change."""
    settings = Settings()
    store = filesystem(settings.s3)
    history = HistoryStore(store, settings.history.path)
    try:
        told = publish_tables(
            Stores(store, S3Files(settings.s3)),
            settings.history.path,
            lambda: history_in_force(settings, history),
            rebuild=rebuild,
        )
    except (CassandraAwayError, HistoryError, TableError, OSError, BotoCoreError, ClientError) as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(1) from None
    for one in told:
        typer.echo(f"{one.data_set}: version {one.version}, {one.added} files more, {one.removed} fewer")
    if not told:
        typer.echo("every table is as the manifest in force says")


if __name__ == "__main__":
    app()
