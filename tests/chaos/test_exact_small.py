"""A small `make exact`: what is killed, and counted exactly all the same, in each mode."""

from pathlib import Path

import pytest

from tools.exact import Scenario, run

EVENTS = 100_000


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("mode", "kills"),
    [
        ("http", ("taskmanager", "kafka")),
        ("createtime", ("python-worker", "cassandra")),
    ],
)
def test_counts_are_exact_though_parts_are_killed(tmp_path: Path, mode: str, kills: tuple[str, ...]) -> None:
    scenario = Scenario(mode=mode, home=tmp_path, events=EVENTS, events_per_second=5000, kills=kills)  # type: ignore[arg-type]
    result = run(scenario)
    assert [str(finding) for finding in result.report.findings[:10]] == []
    assert result.sender["events"] == EVENTS
    assert [kill.part for kill in result.kills] == list(kills)
    # Every kind of event was among them, or a comparison of it would have compared nothing.
    for fate in ("counted", "duplicate", "late", "invalid", "dead_lettered"):
        assert result.fates[fate] > 0, fate
    assert result.fates["received"] >= EVENTS
    assert min(result.report.compared.values()) > 0, result.report.compared
