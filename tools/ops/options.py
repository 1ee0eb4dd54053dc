"""Options of several commands of operators. Each is declared once, here."""

from datetime import UTC, datetime
from typing import Annotated

import typer

TIME_FORMATS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")]


def milliseconds(at: datetime | None) -> int | None:
    """A time of the command line, which is in UTC, as ms since 1970; None stays None."""
    return None if at is None else round(at.replace(tzinfo=UTC).timestamp() * 1000)
