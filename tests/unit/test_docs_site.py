"""The site has every page, and its reference of the API has all that the services say of themselves.

That the site builds, with all links leading somewhere, is for `make docs`, which CI runs.
"""

import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / "docs" / "zensical.toml").read_text())["project"]
DOCS_GROUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["docs"]


def load_make_api() -> ModuleType:
    """docs/ is no package, so that the file is loaded by its path."""
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_api = load_make_api()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    make_api.main(folder)
    return folder


def names(part: Any) -> Iterator[str]:
    """The name of every parameter and of every field of an object, wherever it stands in a description."""
    if isinstance(part, dict):
        if {"name", "in"} <= set(part):
            yield part["name"]
        if isinstance(part.get("properties"), dict):
            yield from part["properties"]
        for one in part.values():
            yield from names(one)
    elif isinstance(part, list):
        for one in part:
            yield from names(one)


@pytest.mark.parametrize("service", ["ingest", "query"])
def test_the_reference_names_every_operation_answer_and_field(made: Path, service: str) -> None:
    description = json.loads((made / f"{service}.openapi.json").read_text())
    page = (made / f"api-{service}.md").read_text()
    assert description["paths"]
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            (section,) = re.findall(
                rf"^## `{method.upper()} {re.escape(path)}`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL
            )
            assert all(f"**Answer {code}**" in section for code in operation["responses"])
            for name in set(names(operation)):
                assert re.search(rf"`(?:[^`]*[.\]])?{re.escape(name)}`", section), f"{name} of {method} {path}"


def test_schemas_by_reference_are_followed_and_one_that_holds_itself_ends() -> None:
    tree = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "maxLength": 8, "description": "A <name>."},
            "below": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
            "other": {"anyOf": [{"$ref": "#/components/schemas/Leaf"}, {"type": "null"}]},
        },
    }
    leaf = {"type": "object", "properties": {"size": {"type": "integer", "default": 0}}}
    answer = {
        "description": "A tree.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}},
    }
    description = {
        "info": {"title": "Trees", "description": ""},
        "paths": {"/tree": {"get": {"summary": "The tree.", "responses": {"200": answer}}}},
        "components": {"schemas": {"Tree": tree, "Leaf": leaf}},
    }
    page = make_api.Reference(description).page("trees.openapi.json")
    assert [line for line in page.splitlines() if line.startswith("| `")] == [
        "| `name` | string | yes | A &lt;name>. At most 8 characters. |",
        "| `below` | list of object |  |  |",
        "| `other` | object or null |  |  |",
        "| `other.size` | integer |  | Default: `0`. |",
    ]


def test_every_page_is_in_the_menu() -> None:
    def pages(entries: list[Any]) -> Iterator[str]:
        for entry in entries:
            for target in entry.values():
                yield from pages(target) if isinstance(target, list) else [target]

    made_by_the_build = {f"docs/api-{service}.md" for service in make_api.SERVICES}
    in_docs = {str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md")}
    at_root = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"}
    listed = list(pages(CONFIG["nav"]))
    assert sorted(listed) == sorted(in_docs | at_root | made_by_the_build | {"docs/decisions/README.md"})


def test_the_lock_of_the_site_has_what_the_group_asks_for() -> None:
    lock = (ROOT / "docs" / "docs.lock").read_text()
    assert DOCS_GROUP
    for requirement in DOCS_GROUP:
        assert f"\n{requirement} \\\n    --hash=" in f"\n{lock}", f"{requirement}: compile docs/docs.lock again"
    assert "://" not in lock
