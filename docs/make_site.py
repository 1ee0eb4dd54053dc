"""Builds the documentation site in a folder, after docs/make_api.py has written to it: see bin/docs.

It needs the packages of docs/docs.lock alone, and no network. The pages are gathered in the shape of the repository, so
that every link of theirs is right as it stands; what a page links to is gathered too. A diagram in Mermaid becomes a
picture, so that a reader's browser needs no script for it. A broken link, a missing heading, or a diagram that cannot
be drawn ends the build.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

from mermaidx import render_many

ROOT = Path(__file__).parents[1]
# Pages at the root of the repository; below docs/ it is all of them.
AT_ROOT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
ASSETS = ("docs/site.css",)
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
# Attributes by which a page makes a browser fetch something without being asked to.
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


def gather(pages: Path, diagrams: Path) -> None:
    """Copies every page, and every file that a page links to, into `pages`; draws what `diagrams` has no file of."""
    sources = [ROOT / name for name in AT_ROOT] + sorted((ROOT / "docs").rglob("*.md"))
    texts = {source: source.read_text(encoding="utf-8") for source in sources}
    drawn = draw({diagram for text in texts.values() for diagram in DIAGRAM.findall(text)}, diagrams)
    shutil.copytree(diagrams, pages / "diagrams", dirs_exist_ok=True)
    linked = {ROOT / name for name in ASSETS}
    for source, text in texts.items():
        target = pages / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (len(target.relative_to(pages).parts) - 1)
        pictures = DIAGRAM.sub(lambda found: f"![Diagram]({up}diagrams/{drawn[found[1]]})", text)  # noqa: B023
        target.write_text(pictures, encoding="utf-8")
        linked |= {(source.parent / path).resolve() for path in LINK.findall(text)}
    for file in linked - set(texts):
        if file.is_file():  # Of what does not exist zensical tells the page and the line.
            target = pages / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def draw(diagrams: Iterable[str], folder: Path) -> dict[str, str]:
    """Draws every diagram and returns its file's name in `folder`. One drawn before is not drawn again."""
    names = {diagram: hashlib.sha256(diagram.encode()).hexdigest()[:16] + ".svg" for diagram in diagrams}
    missing = sorted(diagram for diagram, name in names.items() if not (folder / name).exists())
    folder.mkdir(parents=True, exist_ok=True)
    for diagram, drawn in zip(missing, render_many(missing), strict=True):
        (folder / names[diagram]).write_text(drawn.svg(), encoding="utf-8")
    return names


class Fetches(HTMLParser):
    """Collects the addresses that a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes the address of a script, a style sheet, a picture or a frame."""
        found = dict(attrs)
        address = found.get(FETCHED.get(tag, ""))
        if address and found.get("rel") != "canonical":
            self.found.append(address)


def fetched_elsewhere(site: Path) -> list[str]:
    """The pages that need another host to be shown, each with the address."""
    wrong = []
    for page in sorted(site.rglob("*.html")):
        parser = Fetches()
        parser.feed(page.read_text(encoding="utf-8"))
        wrong += [f"{page.relative_to(site)}: {address}" for address in parser.found if "//" in address]
    return wrong


def main(folder: Path) -> None:
    """Builds FOLDER/site from the repository and from what docs/make_api.py wrote to FOLDER/pages/docs."""
    gather(folder / "pages", folder / "diagrams")
    shutil.copyfile(ROOT / "docs" / "zensical.toml", folder / "zensical.toml")
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict", "--clean"]
    built = subprocess.run([*command, "--config-file", str(folder / "zensical.toml")], check=False)
    if built.returncode:
        sys.exit(
            "the documentation has mistakes, named above: mend them in the file of the same path in the repository"
        )
    if wrong := fetched_elsewhere(folder / "site"):
        sys.exit("these pages ask another host, and must not:\n" + "\n".join(wrong))
    print(f"documentation: {folder / 'site' / 'index.html'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_site.py FOLDER")
    main(Path(sys.argv[1]).resolve())
