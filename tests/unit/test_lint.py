"""The checks before a commit are those of `make lint`, which are those of CI."""

import re
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


def test_hooks_run_what_make_lint_runs() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    commands = [line.removeprefix("\t@") for line in recipe[1].splitlines()]
    assert commands
    hooks = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")
    # Others would be fetched from elsewhere, in versions of their own.
    assert [repository["repo"] for repository in hooks["repos"]] == ["local"]
    assert [hook["entry"] for hook in hooks["repos"][0]["hooks"]] == commands
    # Without file names, since each command names what it checks.
    assert not any(hook["pass_filenames"] for hook in hooks["repos"][0]["hooks"])


def test_ci_lints() -> None:
    assert "make lint" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
