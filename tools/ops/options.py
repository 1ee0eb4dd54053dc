"""Options of several commands of operators. Each is declared once, here."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

TIME_FORMATS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")]


def viewer_ids(arguments: list[str]) -> list[str]:
    """The viewer_ids of a command line. A single '-' means lines of standard input.

    Others see the arguments of a process, and a shell keeps them.
    """
    if arguments != ["-"]:
        return arguments
    lines = sys.stdin.read().splitlines()
    if not lines:
        raise typer.BadParameter("- reads viewer_ids from standard input, which has none; write one on each line")
    return lines


def milliseconds(at: datetime | None) -> int | None:
    """A time of the command line, which is in UTC, as ms since 1970; None stays None."""
    return None if at is None else round(at.replace(tzinfo=UTC).timestamp() * 1000)
