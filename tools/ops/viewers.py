"""Commands for the block list, and for suspects, viewers who may have to be on it."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tools.ops.operating import operating
from tools.ops.options import TIME_FORMATS, AsJson, milliseconds, viewer_ids
from tools.terminal import console
from tools.times import utc

if TYPE_CHECKING:
    from tools.suspects import Suspect

app = typer.Typer()
Viewers = Annotated[list[str], typer.Argument(help="viewer_ids; - reads them from lines of standard input.")]
From = Annotated[
    datetime | None,
    typer.Option("--from", formats=TIME_FORMATS, help="From when on, in UTC; by default as soon as possible."),
]
Until = Annotated[datetime | None, typer.Option(formats=TIME_FORMATS, help="Until when, in UTC; by default for good.")]


@app.command()
def block(viewers: Viewers, *, since: From = None, until: Until = None) -> None:
    """Do not count views of these viewers that arrive from a time on. By default that is in a minute and a half."""
    from tools.block_list import RefusedError, TooEarlyError
    from tools.block_list import block as block_viewers

    ids = viewer_ids(viewers)
    with operating(RefusedError, TooEarlyError, kafka=True) as settings:
        _say("blocked", block_viewers(settings.kafka, ids, milliseconds(since), milliseconds(until)))


@app.command()
def unblock(viewers: Viewers, *, since: From = None) -> None:
    """Count views of these viewers again that arrive from a time on. By default that is in a minute and a half."""
    from tools.block_list import RefusedError, TooEarlyError
    from tools.block_list import unblock as unblock_viewers

    ids = viewer_ids(viewers)
    with operating(RefusedError, TooEarlyError, kafka=True) as settings:
        _say("no longer blocked", unblock_viewers(settings.kafka, ids, milliseconds(since)))


@app.command()
def blocked() -> None:
    """Show which viewers are, were or will be blocked, and when."""
    from tools.block_list import periods
    from udfs.logic.stream.block_list import FOR_GOOD_MS

    with operating(kafka=True) as settings:
        table = Table("viewer", "from", "until", box=None)
        for viewer, listed in sorted(periods(settings.kafka).items()):
            for one in listed:
                is_for_good = one.until_ms == FOR_GOOD_MS
                table.add_row(viewer, utc(one.from_ms), "for good" if is_for_good else utc(one.until_ms))
        console.print(table)


@app.command()
def suspects(
    *,
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Show only this day (UTC).")] = None,
    marked_min: Annotated[
        int, typer.Option(help="Show only viewers with at least this many marked views in total.", min=1)
    ] = 1,
    block: Annotated[
        bool, typer.Option(help="Find their viewer_ids in the archive, and print which of them would be blocked.")
    ] = False,
    send: Annotated[bool, typer.Option(help="With --block: block them, as the command `block` does.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show suspects, viewers with marked views, by hash. Can put them on the block list."""
    if send and not block:
        raise typer.BadParameter("can be given only with --block", param_hint="--send")
    from cassandra import DriverException

    from schemas.viewers import is_no_viewer
    from tools import suspects as marked
    from tools.block_list import RefusedError, TooEarlyError
    from tools.block_list import block as block_viewers
    from tools.history import history_in_force
    from udfs.logic.history.manifest import HistoryError
    from udfs.stores.archive import Archive, ArchiveError, filesystem
    from udfs.stores.history_store import HistoryStore

    with operating(ArchiveError, DriverException, HistoryError, RefusedError, TooEarlyError, kafka=block) as settings:
        store = filesystem(settings.s3)
        history, archive = HistoryStore(store, settings.history.path), Archive(store, settings.archive.path)
        manifest = history_in_force(settings, history)
        found = marked.suspects(history, manifest, None if day is None else day.date())
        found = marked.with_marked_of(found, marked_min)
        ids = marked.names(history, archive, manifest, found, settings.counting.salts) if block else {}
        _show_suspects(found, ids, as_json=as_json)
        if not block:
            return
        unknown = len({one.viewer for one in found} - ids.keys())
        if unknown:
            typer.echo(f"{unknown} viewers are not found, because their events have left the archive", err=True)
        nobody = sorted(name for name in ids.values() if is_no_viewer(name))
        if nobody:
            typer.echo(
                f"not to be blocked: {', '.join(map(repr, nobody))}, which clients without viewer_ids send: none of "
                "their views would count. Correct the client",
                err=True,
            )
        new = marked.not_blocked(settings.kafka, (name for name in ids.values() if not is_no_viewer(name)))
        typer.echo(f"{len(new)} viewers to block, {len(ids) - len(nobody) - len(new)} are blocked already", err=True)
        if new and send:
            _say("blocked", block_viewers(settings.kafka, new))
        elif new:
            typer.echo("nothing was changed; --send blocks them", err=True)


def _show_suspects(found: "list[Suspect]", ids: dict[bytes, str], *, as_json: bool) -> None:
    rows = [
        {**one._asdict(), "day": one.day.isoformat(), "viewer": one.viewer.hex(), "viewer_id": ids.get(one.viewer)}
        for one in found
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("day", "viewer", "viewer_id", "kind", "video", "views", "marked", box=None)
    for row in rows:
        names = ("day", "viewer", "viewer_id", "kind", "video_id", "views", "marked")
        table.add_row(*("-" if row[name] is None else str(row[name]) for name in names))
    console.print(table)


def _say(what: str, from_ms: int) -> None:
    typer.echo(f"{what}, for views that arrive from {utc(from_ms)} on")
