"""The commands for imports on real servers: a file is in the service's totals and days, and is out again."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tools.stack import Stack, StackOptions


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    options = StackOptions(
        home=tmp_path_factory.mktemp("imports"),
        ports="free",
        parts=("cassandra", "seaweedfs", "query"),
        graceful_stop=False,
    )
    with Stack(options) as running:
        running.wait_ready("query")
        yield running


def operate(stack: Stack, *words: str, exit_code: int = 0) -> str:
    done = subprocess.run(
        [str(stack.layout.python), "-m", "tools.ops", *words],
        env=stack.process_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stdout + done.stderr


def answered(stack: Stack, path: str) -> Any:
    answer = httpx2.get(f"{stack.endpoints['query']}{path}", timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_file_is_imported_replaced_and_removed(stack: Stack, tmp_path: Path) -> None:
    operate(stack, "history", "init")
    file = tmp_path / "totals.csv"
    # More rows than a CQL batch has, and some that are longer than others.
    lines = [f"video-{number:04},view,,{number},old" for number in range(500)]
    file.write_text(
        "\n".join(["video,kind,day,count,source", "a,view,2025-11-03,7,old", "a,view,2025-11-04,3,old", *lines])
    )
    said = operate(stack, "import", str(file))
    assert said.startswith(f"totals: {10 + sum(range(500))} views in 502 rows, viewed before")
    total = answered(stack, "/v1/videos/a/views")
    assert (total["views"], total["imported"]) == (10, 10)
    assert total["history_revision"] > 0
    assert answered(stack, "/v1/videos/video-0499/views")["views"] == 499
    days = answered(stack, "/v1/videos/a/series?granularity=day&from=2025-11-02T00:00:00Z&to=2025-11-05T00:00:00Z")
    assert [point["views"] for point in days["points"]] == [0, 7, 3]
    assert days["imported"] == 10
    assert "it was there already" in operate(stack, "import", str(file))
    (listed,) = json.loads(operate(stack, "imports", "list", "--json")).items()
    assert (listed[0], listed[1]["rows"]) == ("totals", 502)

    file.write_text("video,count\na,4\n")
    assert "--replace" in operate(stack, "import", str(file), exit_code=1)
    operate(stack, "import", str(file), "--replace")
    assert answered(stack, "/v1/videos/a/views")["imported"] == 4
    assert answered(stack, "/v1/videos/video-0499/views")["views"] == 0
    operate(stack, "imports", "remove", "totals")
    assert answered(stack, "/v1/videos/a/views")["views"] == 0
    assert operate(stack, "imports", "list").strip() == "nothing was imported"


def test_what_is_wrong_is_said_in_a_line(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "wrong.csv"
    file.write_text("video,count\na,x\n")
    assert operate(stack, "import", str(file), exit_code=1).startswith("row 1: views='x' is not a whole number")
    file.write_text("video,count\na,1\n")
    assert "no name of an import" in operate(stack, "import", str(file), "--name", "A/B", exit_code=1)
