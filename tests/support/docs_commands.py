"""Every shell command that the docs show, as a reader would type it. Knows Markdown, not what the commands do."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
# What a command begins with, after variables that are set for it. A block without a language may be a drawing.
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:bin/|make |flink |python |curl |kafka|aws |nohup |\.local/)")


class Shown(NamedTuple):
    """A command and the page that shows it, from the root of the repository."""

    page: str
    command: str


def blocks(text: str, languages: tuple[str, ...] = ("", "sh")) -> Iterator[list[str]]:
    """The lines of every fenced block of these languages."""
    inside: list[str] | None = None
    for line in text.splitlines():
        fence = re.match(r" *```(\w*)$", line)
        if fence is None:
            if inside is not None:
                inside.append(line.rstrip())
        elif inside is None:
            inside, language = [], fence[1]
        else:
            if language in languages:
                yield inside
            inside = None


def shown_commands() -> Iterator[Shown]:
    """One after the other; one over several lines in one."""
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        for block in blocks(path.read_text(encoding="utf-8")):
            commands: list[str] = []
            for line in block:
                if COMMAND.match(line.strip()):
                    commands.append(line.strip().split("  #")[0].rstrip())
                elif commands:
                    # An argument in quotes goes on.
                    commands[-1] += f"\n{line}"
            for command in commands:
                yield Shown(page, command)
