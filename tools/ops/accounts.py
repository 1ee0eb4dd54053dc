"""What producers had acknowledged, compared with the ledger."""

from typing import Annotated

import typer

from tools.ops.operating import operating

app = typer.Typer()


@app.command()
def accounts(
    *,
    tally: Annotated[
        list[str], typer.Option(help="http://host:port of a process of ingest; give it once for each process.")
    ],
) -> None:
    """Compare what ingest had acknowledged with the ledger, by minute; exit code 1 when the ledger lacks some of it.

    It asks GET /v1/tally of each process of ingest, and the ledger in Cassandra for the minutes that the stream has
    closed. Whether the ledger is what the archive says, the audit tells.
    """
    from cassandra import DriverException

    from tools.accounts import compare, is_wrong, told

    with operating(DriverException) as settings:
        verdicts = compare(settings.cassandra, tally, lambda line: typer.echo(line, err=True))
    typer.echo(told(verdicts))
    if is_wrong(verdicts):
        raise typer.Exit(1)
