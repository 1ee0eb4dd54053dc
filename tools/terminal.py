"""The terminal that commands write to."""

import sys
from io import TextIOWrapper

from rich.console import Console

console = Console()


def show_any_letter() -> None:
    """Let a terminal show a question mark for a letter that it lacks. Otherwise the command would fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
