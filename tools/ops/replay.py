"""Late events and dead letters: shown, mended and sent again."""

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

app = typer.Typer(no_args_is_help=True, help="Late events and dead letters: see them, mend them, send them again.")
Topic = Literal["late", "dead-letter"]


def _choose(
    settings: Settings,
    *,
    topic: Annotated[Topic | None, typer.Option("--topic", help="Take one topic; both by default.")] = None,
    reason: Annotated[
        list[str] | None, typer.Option("--reason", help="Take this reason only; may be given several times.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option("--from", formats=TIME_FORMATS, help="UTC; arrived then or later.")
    ] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=TIME_FORMATS, help="UTC; arrived before.")] = None,
    limit: Annotated[int | None, typer.Option(help="Take the first letters, up to this number.", min=1)] = None,
) -> "list[Letter]":
    """The letters that a command is about. Its keywords are the options of all three commands."""
    from tools.replay.commands import choose

    return choose(settings, topic, reason, milliseconds(since), milliseconds(until), limit)


def _of_letters(command: Callable[..., Iterable[str]]) -> Callable[..., None]:
    """A command of the terminal, from a function of (letters, settings, options of its own) that gives lines.

    The command takes the options of `_choose` and then its own.
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

    # Typer reads these.
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
    """Print each letter: when it arrived, its place, why it was not counted, and its events, or its bytes in hex."""
    from tools.replay.commands import show_lines

    return show_lines(letters, settings, as_json=as_json)


@app.command("resubmit")
@_of_letters
def resubmit_letters(
    letters: "list[Letter]",
    settings: Settings,
    *,
    as_json: AsJson = False,
    fix: Annotated[str | None, typer.Option(help="module:function that mends an event.")] = None,
    late_as_is: Annotated[
        bool, typer.Option("--late-as-is", help="Also late events, which the rollup adds unless the archive lost them.")
    ] = False,
    send: Annotated[bool, typer.Option("--send/--dry-run", help="Send; or only say what would be done.")] = False,
) -> Iterable[str]:
    """Send events again under their ids, which counts none twice; says of each what changes and what becomes of it."""
    from tools.replay.commands import resubmit_lines

    return resubmit_lines(letters, settings, fix=fix, late_as_is=late_as_is, send=send, as_json=as_json)
