"""Options that several commands of operators take, each declared once."""

from datetime import UTC, datetime
from typing import Annotated

import typer

TIME_FORMATS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")]


def milliseconds(at: datetime | None) -> int | None:
    """A time of the command line, which is UTC, in ms since 1970."""
    return None if at is None else round(at.replace(tzinfo=UTC).timestamp() * 1000)
