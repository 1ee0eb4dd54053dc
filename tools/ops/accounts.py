"""Compares what Kafka has acknowledged to producers with the ledger."""

from typing import Annotated

import typer

from tools.ops.operating import operating

app = typer.Typer()


@app.command()
def accounts(
    *,
    tally: Annotated[
        list[str] | None,
        typer.Option(
            help="http://host:port of an ingest process, its private port; give it once for each process. Without it, "
            "those in VC_INGEST_PROCESSES (host:port, separated by commas) are asked."
        ),
    ] = None,
) -> None:
    """Compare the tallies of ingest with the ledger, by minute. The exit code is 1 if the ledger lacks events.

    The command asks each ingest process for GET /v1/tally, and reads the ledger in Cassandra for the minutes that the
    stream has closed. The audit compares the ledger with the archive.
    """
    from cassandra import DriverException

    from tools.accounts import compare, is_wrong, told
    from tools.processes import processes

    urls = [one if "://" in one else f"http://{one}" for one in processes(tally, "ingest")]
    if not urls:
        raise typer.BadParameter("name each process of ingest", param_hint="--tally")
    with operating(DriverException) as settings:
        verdicts = compare(settings.cassandra, urls, lambda line: typer.echo(line, err=True))
    typer.echo(told(verdicts))
    if is_wrong(verdicts):
        raise typer.Exit(1)
