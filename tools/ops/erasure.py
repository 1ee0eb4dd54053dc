"""The command that erases viewers who asked for it."""

import unicodedata
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from tools.ops.operating import end_with, operating
from tools.ops.options import AsJson, viewer_ids

app = typer.Typer()


def other_forms(viewer_id: str) -> list[str]:
    """The same text in Unicode's other normal forms, in which another program may have sent it."""
    found = {unicodedata.normalize(form, viewer_id) for form in ("NFC", "NFD")}
    return sorted(found - {viewer_id})


@app.command()
def erase(
    viewers: Annotated[
        list[str] | None, typer.Argument(help="viewer_ids; - reads them from lines of standard input.")
    ] = None,
    *,
    again: Annotated[
        bool, typer.Option(help="Erase all viewers with open erasures from what has come since the last run.")
    ] = False,
    unlist: Annotated[
        bool, typer.Option(help="End their blocking, and remove them from the block list when the erasure closes.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only print what would be rewritten.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase viewers from the archive and from history. No count changes."""
    ids = viewer_ids(viewers or [])
    if again == bool(ids):
        raise typer.BadParameter("give viewer_ids, or --again for viewers whose erasures are open")
    if again and (unlist or dry_run):
        raise typer.BadParameter("--again cannot be combined with other options than --json")
    for one in ids:
        if others := other_forms(one):
            typer.echo(
                f"viewer_id {one!a}: Unicode can write letters with accents in more than one way, and only equal bytes "
                f"are the same viewer. If another form may be in the data, erase: {', '.join(map(ascii, others))}",
                err=True,
            )
    from botocore.exceptions import BotoCoreError, ClientError
    from cassandra import DriverException
    from cassandra.cluster import NoHostAvailable

    from tools.block_list import RefusedError, TooEarlyError
    from tools.erasure import ErasureError, as_text, erase_again, stores_of
    from tools.erasure import erase as erase_viewers
    from udfs.logic.history.manifest import HistoryError
    from udfs.stores.archive import ArchiveError
    from udfs.stores.conditional_files import ConditionalPutError
    from udfs.stores.erasure_list import ErasureListError
    from udfs.stores.lease import LeaseLostError

    with operating(
        ArchiveError,
        BotoCoreError,
        ClientError,
        ConditionalPutError,
        DriverException,
        ErasureError,
        ErasureListError,
        HistoryError,
        NoHostAvailable,
        RefusedError,
        TooEarlyError,
        kafka=True,
    ) as settings:
        now = datetime.now(UTC)
        try:
            with stores_of(settings, dry_run=dry_run) as stores:
                if again:
                    report = erase_again(settings, stores, now)
                else:
                    report = erase_viewers(settings, stores, ids, now, unlist=unlist, dry_run=dry_run)
        except LeaseLostError as error:
            end_with(f"{error}. What was found until then is rewritten, and the erasures stay open: run this again")
    typer.echo(msgspec.json.encode(report).decode() if as_json else as_text(report))
