"""What Flink keeps of ended jobs, completed so that it can clean up: on a local folder in place of the object store."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow.fs
import pytest

from tools.job_results import complete, complete_as_configured, read_configuration

JOB = "478880ab3aa9b467e73032d1194eb72c"
OTHER = "5db3da8860d79469bbc45368f066bcd4"


def result(job: str, status: str = "FAILED", more: Mapping[str, object] = MappingProxyType({})) -> dict[str, Any]:
    return {
        "id": job,
        "name": "view-counts",
        "application-status": status,
        "accumulator-results": {},
        "net-runtime": 204,
        "start-time": 1_000,
        "end-time": 1_204,
        **more,
    }


def put(storage: Path, job: str, content: dict[str, Any], suffix: str = "_DIRTY.json") -> Path:
    path = storage / "job-result-store" / "cluster" / f"{job}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"result": content, "version": 1}))
    return path


def application(storage: Path, job: str) -> Path:
    return storage / "application-result-store" / "cluster" / f"{job}_DIRTY.json"


def run(storage: Path) -> list[str]:
    return complete(pyarrow.fs.LocalFileSystem(), str(storage), "/cluster")


def test_nothing_is_there_before_the_first_job_ends(tmp_path: Path) -> None:
    assert run(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_job_that_failed_before_it_ran_gets_its_application(tmp_path: Path) -> None:
    path = put(tmp_path, JOB, result(JOB, more={"failure-cause": {"class": "JobInitializationException"}}))
    assert run(tmp_path) == [JOB]
    kept = json.loads(path.read_text())
    assert kept["result"].pop("application-id") == JOB
    assert kept == {
        "result": result(JOB, more={"failure-cause": {"class": "JobInitializationException"}}),
        "version": 1,
    }
    assert json.loads(application(tmp_path, JOB).read_text()) == {
        "result": {
            "application-id": JOB,
            "application-state": "FAILED",
            "application-name": "SingleJobApplication(view-counts)",
            "start-time": 1_000,
            "end-time": 1_204,
        },
        "version": 1,
    }
    assert run(tmp_path) == []


@pytest.mark.parametrize(("status", "state"), [("SUCCEEDED", "FINISHED"), ("CANCELED", "CANCELED")])
def test_a_job_whose_jobmanager_died_between_the_two_results_gets_the_second(
    tmp_path: Path, status: str, state: str
) -> None:
    path = put(tmp_path, JOB, result(JOB, status, {"application-id": JOB}))
    before = path.read_text()
    assert run(tmp_path) == [JOB]
    assert path.read_text() == before
    assert json.loads(application(tmp_path, JOB).read_text())["result"]["application-state"] == state


def test_an_attempt_that_ended_between_the_two_is_made_again(tmp_path: Path) -> None:
    path = put(tmp_path, JOB, result(JOB))
    before = path.read_text()
    run(tmp_path)
    path.write_text(before)
    assert run(tmp_path) == [JOB]
    assert run(tmp_path) == []


def test_what_flink_can_clean_up_by_itself_stays_as_it_is(tmp_path: Path) -> None:
    """A cleaned result, an application of another id, which Flink keeps and recovers, and one with both results."""
    clean = put(tmp_path, JOB, result(JOB), ".json")
    foreign = put(tmp_path, OTHER, result(OTHER, more={"application-id": JOB}))
    before = [clean.read_text(), foreign.read_text()]
    assert run(tmp_path) == []
    assert [clean.read_text(), foreign.read_text()] == before
    assert not application(tmp_path, OTHER).exists()


def test_the_storage_is_found_in_flat_and_in_nested_configuration(tmp_path: Path) -> None:
    storage = tmp_path / "ha"
    for text in (
        f"high-availability.storageDir: file://{storage}\nhigh-availability.cluster-id: /cluster\n",
        f"high-availability:\n  storageDir: file://{storage}\n  cluster-id: cluster\nparallelism.default: 1\n",
    ):
        put(storage, JOB, result(JOB))
        (tmp_path / "config.yaml").write_text(text)
        assert complete_as_configured(read_configuration(tmp_path)) == [JOB]


def command(folder: Path | None, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "FLINK_CONF_DIR"}
    if folder is not None:
        environment["FLINK_CONF_DIR"] = str(folder)
    return subprocess.run(
        [sys.executable, "-m", "tools.job_results", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_program_says_what_is_missing_and_becomes_the_command_all_the_same(tmp_path: Path) -> None:
    alone = command(None)
    assert (alone.returncode, "FLINK_CONF_DIR is not set" in alone.stderr) == (1, True)
    (tmp_path / "config.yaml").write_text("parallelism.default: 1\n")
    before_a_jobmanager = command(tmp_path, "sh", "-c", "echo started; exit 7")
    assert before_a_jobmanager.returncode == 7
    assert before_a_jobmanager.stdout == "started\n"
    assert "high-availability.storageDir is not set" in before_a_jobmanager.stderr
