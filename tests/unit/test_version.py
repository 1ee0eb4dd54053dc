"""The version has one source, settings/version.py: whatever tells a version reads it there."""

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from starlette.routing import Route
from typer.testing import CliRunner

from services.ingest.app import build_service as build_ingest
from services.query.app import build_service as build_query
from services.server import Service
from settings import Settings
from settings.version import VERSION
from tools.cli import app

ROOT = Path(__file__).parents[2]


def test_it_is_a_version_as_semantic_versioning_has_it() -> None:
    assert re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", VERSION)


def test_the_wheel_has_it() -> None:
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ProjectMetadata(str(ROOT), PluginManager()).version == VERSION


@pytest.mark.parametrize("build", [build_ingest, build_query])
@pytest.mark.parametrize("app", ["public", "private"])
def test_the_descriptions_of_the_services_have_it(build: Callable[[Settings], Service], app: str) -> None:
    routes = getattr(build(Settings()), app).routes
    (route,) = (route for route in routes if getattr(route, "path", "") == "/openapi.json")
    assert isinstance(route, Route)
    assert json.loads(route.endpoint(None).body)["info"]["version"] == VERSION


def test_the_command_line_prints_it_and_has_its_commands_still() -> None:
    printed = CliRunner().invoke(app, ["--version"])
    assert (printed.exit_code, printed.output) == (0, f"view-counts {VERSION}\n")
    helped = CliRunner().invoke(app, ["--help"])
    assert "Run and operate the local stack" in helped.output
    assert "clean-data" in helped.output


def test_the_changelog_has_room_for_the_next_release_and_a_section_for_each_tag() -> None:
    heads = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0] == "Unreleased"
    listed = subprocess.run(["git", "tag", "--list", "v*"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no clone of git, so that nothing is known of tags")
    assert {tag.removeprefix("v") for tag in listed.stdout.split()} <= set(heads[1:])


def test_a_tag_of_this_commit_names_it() -> None:
    here = subprocess.run(["git", "tag", "--points-at", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert {tag for tag in here.stdout.split() if re.match(r"v\d", tag)} <= {f"v{VERSION}"}
