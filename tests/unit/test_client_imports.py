"""The client stands alone: it imports nothing of the product, and the product nothing of it."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from view_counts_client import VERSION

ROOT = Path(__file__).parents[2]
DISTRIBUTION = ROOT / "clients" / "python"
PACKAGE = DISTRIBUTION / "view_counts_client"
PROJECT = tomllib.loads((DISTRIBUTION / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# What each dependency is called when it is imported.
NEEDED = {"httpcore2": "httpcore2"}
EXTRAS = {"backports-zstd": "backports", "rich": "rich", "typer": "typer"}
OF_THE_COMMAND = {"cli.py", "commands.py", "shown.py"}
OPTIONAL_FILES = {
    "backports": {"bodies.py"},
    "compression": {"bodies.py"},
    "rich": OF_THE_COMMAND,
    "typer": OF_THE_COMMAND,
}


def imported(path: Path) -> Iterator[str]:
    """The top level of every import of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_dependencies_are_those_that_the_test_knows() -> None:
    def names(requirements: list[str]) -> set[str]:
        return {requirement.split(">")[0] for requirement in requirements}

    assert names(PROJECT["dependencies"]) == NEEDED.keys()
    extras = PROJECT["optional-dependencies"]
    assert set().union(*(names(one) for one in extras.values())) == EXTRAS.keys()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_the_client_imports_what_it_declares(path: Path) -> None:
    allowed = {*NEEDED.values(), PACKAGE.name, "__future__"}
    for name in set(imported(path)):
        assert name in allowed or name in sys.stdlib_module_names or path.name in OPTIONAL_FILES.get(name, ()), name


def test_the_product_does_not_import_the_client() -> None:
    folders = ("settings", "schemas", "udfs", "connectors", "services", "jobs", "tools")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert files
    # Few files say its name, and only those are worth parsing.
    named = [path for path in files if PACKAGE.name in path.read_text(encoding="utf-8")]
    assert [path for path in named if PACKAGE.name in imported(path)] == []


def test_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_its_wheel_has_all_of_it(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=DISTRIBUTION, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"view_counts_client-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        metadata = packed.read(f"view_counts_client-{VERSION}.dist-info/METADATA").decode()
    assert {str(path.relative_to(DISTRIBUTION)) for path in PACKAGE.rglob("*.py")} <= names
    assert "view_counts_client/py.typed" in names
    assert "Provides-Extra: cli" in metadata
