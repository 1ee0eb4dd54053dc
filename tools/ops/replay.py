"""Commands that list, show, fix and resend late events and dead letters."""

import inspect
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from settings import Settings
from tools.ops.operating import operating
from tools.ops.options import TIME_FORMATS, AsJson, milliseconds

if TYPE_CHECKING:
    from tools.replay.letters import Letter

app = typer.Typer(no_args_is_help=True, help="List, show, fix and resend late events and dead letters.")
Topic = Literal["late", "dead-letter", "diverted"]


def _choose(
    settings: Settings,
    *,
    topic: Annotated[
        Topic | None, typer.Option("--topic", help="Take one topic; late and dead-letter by default.")
    ] = None,
    reason: Annotated[
        list[str] | None, typer.Option("--reason", help="Take only this reason; may be given several times.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--from", formats=TIME_FORMATS, help="Take only what arrived at this time or later, in UTC."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--to", formats=TIME_FORMATS, help="Take only what arrived before this time, in UTC."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first letters, up to this number.", min=1)] = None,
) -> "list[Letter]":
    """The letters that a command works on. The keywords are the options of all three commands."""
    from tools.replay.commands import choose

    return choose(settings, topic, reason, milliseconds(since), milliseconds(until), limit)


def _of_letters(command: Callable[..., Iterable[str]]) -> Callable[..., None]:
    """Make a command of a function that takes (letters, settings, own options) and returns lines.

    The command has the options of `_choose` and then those of the function.
    """
    choosing = list(inspect.signature(_choose).parameters.values())[1:]
    own = list(inspect.signature(command).parameters.values())[2:]
    names = {parameter.name for parameter in choosing}

    def taken(**given: Any) -> None:
        from tools.replay.commands import ERRORS

        choice = {name: given.pop(name) for name in names & given.keys()}
        with operating(*ERRORS, kafka=True) as settings:
            for line in command(_choose(settings, **choice), settings, **given):
                typer.echo(line)

    # Typer reads these attributes to find the options and the help.
    taken.__doc__ = command.__doc__
    taken.__annotations__ = {parameter.name: parameter.annotation for parameter in (*choosing, *own)}
    taken.__signature__ = inspect.Signature([*choosing, *own])  # type: ignore[attr-defined]
    return taken


@app.command("list")
@_of_letters
def list_letters(letters: "list[Letter]", _settings: Settings, *, as_json: AsJson = False) -> Iterable[str]:
    """Count letters by topic, reason and hour of arrival."""
    from tools.replay.commands import list_lines

    return list_lines(letters, as_json=as_json)


@app.command("show")
@_of_letters
def show_letters(letters: "list[Letter]", settings: Settings, *, as_json: AsJson = False) -> Iterable[str]:
    """Print each letter: its time of arrival, its place, why it was not counted, and its events or bytes."""
    from tools.replay.commands import show_lines

    return show_lines(letters, settings, as_json=as_json)


@app.command("resubmit")
@_of_letters
def resubmit_letters(
    letters: "list[Letter]",
    settings: Settings,
    *,
    as_json: AsJson = False,
    fix: Annotated[str | None, typer.Option(help="A Python function that corrects events: module:function.")] = None,
    late_as_is: Annotated[
        bool,
        typer.Option(
            "--late-as-is",
            help="Also send late events again. Use it only if the archive lost them; the rollup adds late events.",
        ),
    ] = False,
    send: Annotated[
        bool, typer.Option("--send/--dry-run", help="Send the events, or only print what would be done.")
    ] = False,
) -> Iterable[str]:
    """Send events again with the same ids, so that none counts twice. Prints for each what changes and its fate."""
    from tools.replay.commands import resubmit_lines

    return resubmit_lines(letters, settings, fix=fix, late_as_is=late_as_is, send=send, as_json=as_json)
