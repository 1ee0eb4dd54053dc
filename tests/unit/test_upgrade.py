"""An upgrade: what is refused is refused before the stop, and what does not run gives way to what ran before."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tools.stack import FlinkCommandError
from tools.submitted import PACKAGES, keep, kept
from tools.upgrade import Plan, UpgradeError, reason, refused_slots, slots_in_use, state_of, upgrade

JAVA = (
    """Job has been submitted with JobID 1
org.apache.flink.client.program.ProgramInvocationException: The program's entry point threw an exception
"""
    + "\tat org.apache.flink.client.program.PackagedProgram.callMainMethod(PackagedProgram.java:357)\n" * 60
)
SAVEPOINT = "s3://view-counts/savepoints/savepoint-1"


def tasks(**states: int) -> dict[str, Any]:
    return {"state": "RUNNING", "vertices": [{"parallelism": sum(states.values()), "tasks": states}]}


class FakeCluster:
    """Flink as an upgrade sees it: one job that runs in two slots, and whatever its successor is said to do."""

    def __init__(self, *, free: int = 1, check: str = "checked: the job needs 2 slots\n") -> None:
        self.free, self.check = free, check
        self.commands: list[str] = []
        self.told: dict[str, dict[str, Any]] = {"old": tasks(RUNNING=2)}
        self.failures: dict[str, list[str]] = {}
        self.refused: set[str] = set()
        self.now_s = 0.0

    def flink(self, *arguments: str) -> str:
        self.commands.append(" ".join(arguments))
        if arguments[0] == "cancel":
            del self.told[arguments[1]]
        if arguments[0] == "run" and not self.check.startswith("checked"):
            raise FlinkCommandError(self.check)
        return self.check

    def flink_stop(self, job_id: str, /) -> str:
        self.commands.append(f"stop {job_id}")
        del self.told[job_id]
        return SAVEPOINT

    def flink_rest(self, path: str) -> Any:
        if path == "/overview":
            return {"slots-available": self.free}
        job = path.split("/")[2]
        if path.endswith("/exceptions"):
            return {"exceptionHistory": {"entries": [{"stacktrace": one} for one in self.failures.get(job, ())]}}
        return self.told.get(job)

    def unfinished_jobs(self) -> Mapping[str, str]:
        return dict.fromkeys(self.told, "view-counts")

    def start(self, job: str, told: dict[str, Any]) -> Callable[[str], str]:
        def begin(savepoint: str) -> str:
            self.commands.append(f"start {job} from {savepoint}")
            if job in self.refused:
                raise FlinkCommandError(JAVA + "Caused by: java.lang.IllegalStateException: no state for it\n")
            self.told[job] = told
            return job

        return begin

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def run(cluster: FakeCluster, new: dict[str, Any], old: dict[str, Any] | None = None) -> str:
    """Upgrade, with records that are there at once; the successor's id."""
    ledger = {(100, 0): Counter(received=1, counted=1, records=1)}
    plan = Plan(
        check=["-py", "job.py", "--check"],
        start=cluster.start("new", new),
        go_back=cluster.start("back", old or tasks(RUNNING=2)),
        by_hand=lambda savepoint: f"bin/vc flink run -d -s {savepoint}",
    )
    return upgrade(
        cluster, "old", plan, read_ledger=lambda: ledger, count_written=lambda: 1,
        now_s=lambda: cluster.now_s, sleep=cluster.sleep,
    ).job  # fmt: skip


def test_a_job_that_runs_is_the_successor() -> None:
    cluster = FakeCluster()
    assert run(cluster, tasks(RUNNING=2)) == "new"
    assert cluster.commands == ["run -py job.py --check", "stop old", f"start new from {SAVEPOINT}"]


def test_what_the_check_refuses_is_refused_before_the_stop_and_in_one_line() -> None:
    line = "refused: parallelism=500 is above VIEW_COUNTS_COUNTING_MAX_PARALLELISM=128"
    cluster = FakeCluster(check=f"{JAVA}{line}\n{JAVA}")
    with pytest.raises(UpgradeError) as raised:
        run(cluster, tasks(RUNNING=2))
    assert cluster.commands == ["run -py job.py --check"]
    assert str(raised.value) == f"nothing was stopped, and job old still runs. The new code was refused:\n{line}"


def test_too_few_slots_are_refused_before_the_stop_with_both_numbers() -> None:
    cluster = FakeCluster(free=1, check="checked: the job needs 4 slots\n")
    with pytest.raises(UpgradeError, match="needs 4 slots, and there are 3: 1 free and 2 of the job that runs"):
        run(cluster, tasks(RUNNING=4))
    assert cluster.commands == ["run -py job.py --check"]
    assert refused_slots(3, free=1, own=2) is None
    assert "check that a TaskManager runs" in str(refused_slots(1, free=0, own=0))


def test_a_job_that_waits_for_slots_gives_way_to_what_ran() -> None:
    cluster = FakeCluster()
    with pytest.raises(UpgradeError) as raised:
        run(cluster, tasks(SCHEDULED=2))
    assert cluster.commands[2:] == [f"start new from {SAVEPOINT}", "cancel new", f"start back from {SAVEPOINT}"]
    first, last = str(raised.value).splitlines()
    assert first == "the new job does not run: it waits for slots after 60 s"
    assert last == f"The old job runs again, as job back from savepoint {SAVEPOINT}"
    assert set(cluster.told) == {"back"}


def test_one_that_loads_its_state_is_waited_for_longer() -> None:
    cluster = FakeCluster()
    with pytest.raises(UpgradeError, match="does not run after 600 s"):
        run(cluster, tasks(RUNNING=1, INITIALIZING=1))


def test_one_that_fails_again_and_again_gives_way_with_its_reason() -> None:
    cluster = FakeCluster()
    cluster.failures["new"] = [JAVA + "Caused by: java.lang.RuntimeException: broken rule\n"] * 3
    with pytest.raises(UpgradeError) as raised:
        run(cluster, tasks(CREATED=2))
    assert "Caused by: java.lang.RuntimeException: broken rule" in str(raised.value)
    assert len(str(raised.value).splitlines()) < 5
    assert cluster.now_s == 0, "nobody waits for a lucky attempt"


def test_one_that_flink_refuses_gives_way_at_once() -> None:
    cluster = FakeCluster()
    cluster.refused = {"new"}
    with pytest.raises(UpgradeError, match="no state for it\nThe old job runs again, as job back"):
        run(cluster, tasks(RUNNING=2))


def test_when_neither_runs_the_last_line_is_what_to_type() -> None:
    cluster = FakeCluster()
    cluster.refused = {"new", "back"}
    with pytest.raises(UpgradeError) as raised:
        run(cluster, tasks(RUNNING=2))
    lines = str(raised.value).splitlines()
    assert len(lines) < 8, "what Java has to say would scroll it away"
    assert lines[-1] == f"Type: bin/vc flink run -d -s {SAVEPOINT}"


def test_slots_are_those_of_the_widest_operator_and_only_of_tasks_that_have_one() -> None:
    job = {"vertices": [{"tasks": {"RUNNING": 2, "SCHEDULED": 0}}, {"tasks": {"RUNNING": 1, "SCHEDULED": 3}}]}
    assert slots_in_use(job) == 2
    assert state_of(tasks(CREATED=1, RUNNING=1)) == "starts"
    assert state_of({"state": "FAILED", "vertices": []}) == "failed"


def test_a_reason_is_our_own_words_or_the_innermost_causes() -> None:
    assert reason(JAVA + "Caused by: a\nCaused by: b\nCaused by: c\n") == "Caused by: b\nCaused by: c"
    assert reason("noise\nrefused: x=1: not so\nCaused by: a\n") == "refused: x=1: not so"
    assert reason('  File "x.py", line 3\nImportError: no module y\n') == "ImportError: no module y"


def test_what_was_submitted_is_started_again_with_its_code_and_its_settings(tmp_path: Path) -> None:
    clone, folder = tmp_path / "clone", tmp_path / "data" / "submitted"
    for package in PACKAGES:
        (clone / package).mkdir(parents=True)
        (clone / package / "code.py").write_text("old")
    folder.parent.mkdir()
    assert kept(folder) is None
    then = {"VIEW_COUNTS_COUNTING_EMIT_INTERVAL_MS": "500", "VIEW_COUNTS_S3_SECRET_KEY": "secret", "PATH": "/bin"}
    for parallelism in ("1", "2"):
        keep(folder, clone, ["-p", parallelism], ["--own"], then)
    (clone / "jobs" / "code.py").write_text("new")
    now = {"VIEW_COUNTS_COUNTING_EMIT_INTERVAL_MS": "5", "VIEW_COUNTS_JOB_ENRICHMENT": "false"}
    old = kept(folder)
    assert old is not None
    assert (old.code / "jobs" / "code.py").read_text() == "old"
    assert "secret" not in (folder / "submitted.json").read_text()
    arguments, changes = old.again("jobs/code.py", SAVEPOINT, now)
    code = str(old.code)
    assert arguments == ["-s", SAVEPOINT, "-p", "2", "-pyfs", code, "-py", f"{code}/jobs/code.py", "--own"]
    assert changes == {
        "VIEW_COUNTS_COUNTING_EMIT_INTERVAL_MS": "500",
        "VIEW_COUNTS_JOB_ENRICHMENT": None,
        "PYTHONPATH": code,
    }
