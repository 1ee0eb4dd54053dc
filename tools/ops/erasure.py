"""Viewers who asked to be forgotten."""

import sys
import unicodedata
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from tools.ops.operating import end_with, operating
from tools.ops.options import AsJson

app = typer.Typer()


def other_forms(viewer_id: str) -> list[str]:
    """The same text in Unicode's other normal forms, as another program may have sent it."""
    found = {unicodedata.normalize(form, viewer_id) for form in ("NFC", "NFD")}
    return sorted(found - {viewer_id})


@app.command()
def erase(
    viewers: Annotated[list[str] | None, typer.Argument(help="viewer_ids; - for lines of standard input.")] = None,
    *,
    again: Annotated[bool, typer.Option(help="Erase all whose erasures are open from what has come since.")] = False,
    unlist: Annotated[
        bool, typer.Option(help="End their blocks, and drop them from the block list at the end.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be rewritten.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take viewers out of archive and history; every number that was counted stays as it was."""
    ids = sys.stdin.read().splitlines() if viewers == ["-"] else viewers or []
    if again == bool(ids):
        raise typer.BadParameter("give viewer_ids, or --again for those whose erasures are open")
    if again and (unlist or dry_run):
        raise typer.BadParameter("--again goes with no other option but --json")
    for one in ids:
        if others := other_forms(one):
            typer.echo(
                f"viewer_id {one!a}: letters with accents are written in more than one way in Unicode, and bytes "
                f"decide. If the viewer may be in the data so too, erase: {', '.join(map(ascii, others))}",
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
            end_with(f"{error}. What was found is rewritten, and the erasures stay open: run this again")
    typer.echo(msgspec.json.encode(report).decode() if as_json else as_text(report))
