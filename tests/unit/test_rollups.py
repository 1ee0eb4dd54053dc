"""When a rollup runs by itself, and what a failed one leads to."""

import threading
from pathlib import Path

import pytest

from tools import rollups
from tools.rollups import HOUR_S, HourlyRollups, wait_s


@pytest.mark.parametrize(("now_s", "expected_s"), [(0, 180), (179, 1), (180, 3600), (181, 3599), (7200 + 60, 120)])
def test_it_runs_when_an_hour_is_over_and_archived(now_s: float, expected_s: float) -> None:
    assert wait_s(now_s, 180) == expected_s


def test_a_failed_one_is_tried_again_and_the_log_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "wait_s", lambda *_: 0.001)
    monkeypatch.setattr(rollups, "RETRY_S", 0.001)
    calls = 0
    enough = threading.Event()

    def run() -> str:
        nonlocal calls
        calls += 1
        if calls > 3:
            enough.set()
        if calls == 2:
            raise RuntimeError("no slots")
        return f"run {calls}"

    with HourlyRollups(run, tmp_path / "rollup.log", settled_s=HOUR_S):
        assert enough.wait(10)
    said = [line.split(" ", 1)[1] for line in (tmp_path / "rollup.log").read_text().splitlines()]
    assert said[:3] == ["run 1", "no slots", "run 3"]
