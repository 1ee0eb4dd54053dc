"""`make nightly` runs every part, says what came of each, and ends with 1 if any failed; CI runs none of its tests."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.nightly import PARTS, Part, main
from tools.stack.layout import repository

# pytest's exit code when it has selected no test.
NO_TESTS = 5

ALL = (Part("tests", ("t",), good=(0, NO_TESTS)), Part("demo", ("d",)), Part("exact", ("e",)))


@pytest.mark.parametrize(
    ("codes", "exit_code", "verdicts"),
    [
        ({"t": 0, "d": 0, "e": 0}, 0, ["passed", "passed", "passed"]),
        ({"t": NO_TESTS, "d": 0, "e": 0}, 0, ["passed", "passed", "passed"]),
        ({"t": 1, "d": 0, "e": 0}, 1, ["FAILED", "passed", "passed"]),
        ({"t": 0, "d": NO_TESTS, "e": -9}, 1, ["passed", "FAILED", "FAILED"]),
    ],
)
def test_every_part_runs_and_has_a_line_and_one_failure_is_enough(
    capsys: pytest.CaptureFixture[str], codes: dict[str, int], exit_code: int, verdicts: list[str]
) -> None:
    ran: list[str] = []

    def execute(command: Sequence[str]) -> int:
        ran.extend(command)
        return codes[command[0]]

    assert main(ALL, execute) == exit_code
    assert ran == ["t", "d", "e"]
    summary = capsys.readouterr().out.rpartition("nightly:\n")[2].splitlines()
    assert [line.split()[:2] for line in summary] == [
        [verdict, part.name] for verdict, part in zip(verdicts, ALL, strict=True)
    ]
    for line, code in zip(summary, codes.values(), strict=True):
        assert line.split()[3].rstrip(",") == "s"
        assert (f"exit code {code}" in line) == (code != 0)


def test_a_part_runs_in_a_process_and_its_exit_code_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([Part("ends with 3", (sys.executable, "-c", "raise SystemExit(3)"))]) == 1
    assert "FAILED  ends with 3" in capsys.readouterr().out


def test_the_exactness_runs_and_the_long_tests_are_parts_and_make_knows_them() -> None:
    assert [part.command[1:] for part in PARTS] == [
        ("-m", "pytest", "-m", "nightly"),
        ("-m", "pytest", "--hypothesis-profile", "thorough", "-m", "hypothesis and not nightly"),
        ("-m", "tests.fuzz", "--seconds", "600"),
        ("-m", "tools.audit_demo"),
        ("-m", "tools.exact"),
    ]
    assert "\nnightly: setup-tests ##" in (repository() / "Makefile").read_text(encoding="utf-8")


def test_no_test_selected_is_good_only_while_there_is_none() -> None:
    """Else a night in which a wrong path or marker lost them all would pass."""
    others = [path for path in (repository() / "tests").rglob("*.py") if path != Path(__file__)]
    there_are = any("mark.nightly" in path.read_text(encoding="utf-8") for path in others)
    assert (NO_TESTS in PARTS[0].good) == (not there_are)


@pytest.mark.slow
def test_tests_of_the_marker_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    """By the repository's own settings of pytest, here on two tests of which one takes long."""
    text = "import pytest\n\ndef test_short(): ...\n\n@pytest.mark.nightly\ndef test_long(): ...\n"
    (tmp_path / "test_both.py").write_text(text)

    def selected(*options: str) -> list[str]:
        settings = ["-c", str(repository() / "pyproject.toml"), "--rootdir", str(tmp_path)]
        command = [sys.executable, "-m", "pytest", *settings, "--collect-only", "-q", *options, str(tmp_path)]
        # Of the plugins only the one whose settings are among them.
        command += ["-p", "pytest_timeout"]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        printed = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
        ).stdout
        return [line.partition("::")[2] for line in printed.splitlines() if "::" in line]

    assert selected() == ["test_short"]
    assert selected("-m", "nightly") == ["test_long"]
