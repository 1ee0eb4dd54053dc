"""Makes, lists, withdraws and diverts keys."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tools.ops.operating import operating
from tools.ops.options import TIME_FORMATS, AsJson

app = typer.Typer(no_args_is_help=True, help="Make, list, withdraw and divert keys.")

KeyId = Annotated[str, typer.Argument(help="The public id of the key, its third part.")]
Tell = Annotated[
    list[str] | None,
    typer.Option(
        help="host:port, the private port of a process that is told at once; give it once for each. A name with "
        "several addresses stands for all of them. Without it, those in VC_INGEST_PROCESSES and VC_QUERY_PROCESSES "
        "are told. The key for this is in VC_ADMIN_KEY."
    ),
]


@app.command()
def add(
    *,
    scope: Annotated[str, typer.Option(help="write, read, admin, canary, pubwrite or pubread.")],
    project: Annotated[str, typer.Option(help="Whose key it is: a name that outlives the key.")] = "default",
    kind: Annotated[list[str] | None, typer.Option(help="A kind that it may name; give it once for each.")] = None,
    origin: Annotated[list[str] | None, typer.Option(help="An origin whose pages may use a publishable key.")] = None,
    video_prefix: Annotated[list[str] | None, typer.Option(help="What the ids of its videos begin with.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="A channel that a reader is held to, with its videos; once for each.")
    ] = None,
    expires_at: Annotated[datetime | None, typer.Option(formats=TIME_FORMATS, help="When it expires, in UTC.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Events with unknown fields are rejected.")] = False,
    batch_ids: Annotated[bool, typer.Option("--batch-ids", help="Answers may name the batches of events.")] = False,
    events_per_s: Annotated[float | None, typer.Option(help="Its limit, in place of the settings'.")] = None,
    bytes_per_s: Annotated[float | None, typer.Option(help="Its limit, in place of the settings'.")] = None,
    names_per_day_max: Annotated[
        int | None, typer.Option(help="How many videos by kind it may name in a day. A secret key has no other limit.")
    ] = None,
) -> None:
    """Make a key and show it, this once. The file of keys has only its hash.

    A publishable key (pubwrite, pubread) must name kinds, origins and a prefix. Whoever wants any of them says '*', and
    says it twice.
    """
    from schemas.access_keys import KeyFileError
    from tools.keys import add_key

    with operating(KeyFileError) as settings:
        text = add_key(
            Path(settings.access.keys_file),
            scope=scope,
            project=project,
            kinds=kind or [],
            origins=origin or [],
            video_prefixes=video_prefix or [],
            channels=channel or [],
            expires_at=expires_at,
            is_strict=strict,
            has_batch_ids=batch_ids,
            events_per_s=events_per_s,
            bytes_per_s=bytes_per_s,
            names_per_day_max=names_per_day_max,
        )
    typer.echo(text)


@app.command("list")
def list_keys(*, as_json: AsJson = False) -> None:
    """Show all keys: id, scope, project, what they are held to, expiry, and the last use if Redis has it."""
    from schemas.access_keys import KeyFileError
    from tools.keys import shown

    with operating(KeyFileError) as settings:
        typer.echo(shown(settings, as_json=as_json))


@app.command()
def withdraw(
    key_id: KeyId,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="The key is valid again.")] = False,
    tell: Tell = None,
) -> None:
    """Make a key invalid. What it wrote before stays; `divert` keeps it apart first, if that is in doubt."""
    _change(key_id, "withdrawn_at", undo=undo, tell=tell)


@app.command()
def divert(
    key_id: KeyId,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="What it writes is counted again.")] = False,
    tell: Tell = None,
) -> None:
    """Send what a key writes from now on to a topic apart, where it is kept for 30 days and can be replayed."""
    _change(key_id, "diverted_at", undo=undo, tell=tell)


def _change(key_id: str, field: str, *, undo: bool, tell: list[str] | None) -> None:
    from schemas.access_keys import KeyFileError
    from tools.keys import mark, tell_all
    from tools.processes import processes

    with operating(KeyFileError) as settings:
        key = mark(Path(settings.access.keys_file), key_id, field, undo=undo)
        # In open access there are no keys, and no process listens to what is said of one.
        known = [] if settings.access.mode == "open" else processes(None, "ingest", "query")
        failures = tell_all(key, tell or known, lambda line: typer.echo(line, err=True))
    if failures:
        raise typer.Exit(1)
