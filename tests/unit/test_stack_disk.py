"""A disk that fills up while the stack runs is told once, and then ends it with the reason."""

from pathlib import Path

import pytest

from tools.cli.running import Watched
from tools.stack import Stack, StackOptions
from tools.stack.machine.disk import GIB, MIB, DiskError, DiskLimits, DiskSettingError, DiskWatch, disk_limits


def watch(free: list[float], said: list[str]) -> DiskWatch:
    """Of a folder where there are so many GiB at one look after the other."""
    left = iter(free)
    return DiskWatch(Path("/data"), DiskLimits(), said.append, lambda _folder: round(next(left) * GIB))


def test_little_room_is_told_once_and_again_after_there_was_enough() -> None:
    said: list[str] = []
    found = watch([3, 1.9, 1.8, 2.5, 1.5], said)
    counts = []
    for _ in range(5):
        found.look()
        counts.append(len(said))
    assert counts == [0, 1, 1, 1, 2]
    assert said[0] == "1.9 GiB of disk are free at /data: the stack is stopped below 0.5"


def test_too_little_is_an_error_that_says_where_how_much_and_what_to_do() -> None:
    with pytest.raises(DiskError) as raised:
        watch([0.4], []).look()
    (line,) = str(raised.value).splitlines()
    assert line.startswith("0.40 GiB of disk are free at /data, fewer than 0.5 (VIEW_COUNTS_STACK_DISK_STOP_MIB): ")
    assert "free some" in line


def test_the_limits_are_settings_and_a_wrong_one_names_its_variable() -> None:
    assert disk_limits({}) == DiskLimits(5120, 2048, 512)
    assert disk_limits({"VIEW_COUNTS_STACK_DISK_STOP_MIB": "7"}).stop_mib == 7
    with pytest.raises(DiskSettingError, match="VIEW_COUNTS_STACK_DISK_WARN_MIB='2 GiB' is not a number of MiB"):
        disk_limits({"VIEW_COUNTS_STACK_DISK_WARN_MIB": "2 GiB"})


def test_a_real_folder_has_room(tmp_path: Path) -> None:
    said: list[str] = []
    DiskWatch(tmp_path / "not" / "there", DiskLimits(stop_mib=1), said.append).look()
    with pytest.raises(DiskError):
        DiskWatch(tmp_path, DiskLimits(stop_mib=2**63 // MIB), said.append).look()


@pytest.mark.parametrize("said", ["", "Traceback\nOSError: [Errno 28] No space left on device\n"])
def test_a_stack_that_ended_by_itself_shows_what_supervisord_said(tmp_path: Path, said: str) -> None:
    stack = Stack(StackOptions(home=tmp_path, ports="free"))
    stack.layout.make_folders()
    stack.layout.log_file("supervisord-start").write_text(said)
    lines = str(Watched(stack).ended()).splitlines()
    assert lines[:-1] == said.splitlines()
    assert lines[-1].startswith("the stack was stopped from outside")
    assert (str(stack.layout.log_file("supervisord-start")) in lines[-1]) == bool(said)
