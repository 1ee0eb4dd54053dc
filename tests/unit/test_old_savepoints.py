"""Which savepoints an upgrade names as those that may go."""

import os
from pathlib import Path

import pyarrow.fs
import pytest

from settings import S3Settings
from tools import savepoints


def make(folder: Path, name: str, written_s: int) -> str:
    (folder / name).mkdir(parents=True)
    for file in ("_metadata", "state"):
        (folder / name / file).touch()
        os.utime(folder / name / file, (written_s, written_s))
    return f"s3:/{folder / name}"


def test_those_before_the_newest_are_named_oldest_first_with_the_command_that_removes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        savepoints, "filesystem", lambda _s3: pyarrow.fs.SubTreeFileSystem("/", pyarrow.fs.LocalFileSystem())
    )
    folder = tmp_path / "savepoints"
    second, first = make(folder, "savepoint-a", 2000), make(folder, "savepoint-b", 1000)
    newest = make(folder, "savepoint-c", 3000)
    make(folder, "savepoint-d", 4000)
    (folder / "savepoint-unfinished").mkdir()
    found = savepoints.older_than(newest, S3Settings())
    assert found == [first, second], "neither what came later nor what was never finished"
    assert list(savepoints.disposal(found))[1:] == [
        f"bin/vc flink savepoint --dispose {first}",
        f"bin/vc flink savepoint --dispose {second}",
    ]
    assert list(savepoints.disposal([])) == []
