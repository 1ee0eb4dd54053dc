"""What the docs point to exists: files, headings, make targets, commands, variables."""

import re
import sys
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from tools.cli import app
from tools.ops.app import app as operators
from tools.stack.preflight import known_variables

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
TOP_FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}


def anchors(page: Path) -> set[str]:
    """The anchors that Git hosts make of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_spans(page: Path) -> list[str]:
    """Everything between backticks, and the lines of every block."""
    text = page.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [*inline, *(line for block in fenced for line in block.splitlines())]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(linked), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_named_files_exist(page: Path) -> None:
    for span in code_spans(page):
        for word in re.findall(r"[\w.-]+(?:/[\w.-]+)+\.(?:py|md|yaml|xml|avsc|cql|lock|in)\b", span):
            if word.split("/", maxsplit=1)[0] in TOP_FOLDERS:
                assert (ROOT / word).exists(), f"`{word}` does not exist"


def is_command(program: typer.Typer, name: str, second: str = "") -> bool:
    """Whether a program has this command, and where that is a group, the command in it."""
    command = typer.main.get_group(program).commands.get(name)
    if isinstance(command, TyperGroup) and second:
        return second in command.commands
    return command is not None


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_named_commands_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for span in code_spans(page):
        assert set(re.findall(r"^make ([a-z-]+)", span)) <= targets, span
        for module in re.findall(r"python -m ([\w.]+)", span):
            if module in {"pytest", *sys.stdlib_module_names}:
                continue
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), span
        for program, named in (("bin/vc", app), ("python -m tools.ops", operators)):
            for words in re.findall(rf"^{program} ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", span):
                assert is_command(named, *words.split()), span


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_named_variables_exist(page: Path) -> None:
    variables = known_variables()
    for span in code_spans(page):
        for variable in re.findall(r"VIEW_COUNTS_[A-Z_]*[A-Z]\b(?!_\*|_<)", span):
            assert variable in variables, f"`{variable}` is no setting"


def test_every_decision_is_listed() -> None:
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text()
    files = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    numbers = [int(path.name.split("-", maxsplit=1)[0]) for path in files]
    assert len(set(numbers)) == len(numbers)
    for number, path in zip(numbers, files, strict=True):
        # Decisions that are made at the same time have numbers that were given out before, so that some may be missing.
        assert f"\n{number}. [" in listed
        assert f"]({path.name})" in listed
