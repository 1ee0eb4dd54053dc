"""What is beyond a budget lies in files: what goes first, what comes back, and a folder that has no room."""

import errno
import logging
import random
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from udfs.logic.kernels.id_index import SLOTS_MIN, IdIndex
from udfs.logic.kernels.memory_budget import REQUESTS_WITHOUT_ROOM, Budget, FileBlock, SpillFile
from udfs.logic.minutes.cells import MinuteCells
from udfs.logic.minutes.closed_minutes import ClosedMinute

FOLDER = tempfile.gettempdir()
TABLE = SLOTS_MIN * 16


def ids(n: int, of: int = 1) -> npt.NDArray[np.uint64]:
    return np.array([(of, i + 1) for i in range(n)], np.uint64)


def rows(*cells: tuple[str, str, int]) -> npt.NDArray[np.uint8]:
    packed = b""
    for kind, video, views in cells:
        key = bytes([len(kind)]) + kind.encode() + video.encode()
        packed += bytes([len(key)]) + key + views.to_bytes(4, "little")
    return np.frombuffer(packed, np.uint8)


def test_the_generation_before_goes_first_and_then_the_largest() -> None:
    budget = Budget(6 * TABLE, FOLDER)
    past, small, large = (IdIndex(budget) for _ in range(3))
    past.is_past = True
    small.add_all(ids(10))
    assert [table.is_in_file for table in (past, small, large)] == [False, False, False]
    large.add_all(ids(1000))
    assert [table.is_in_file for table in (past, small, large)] == [False, False, False]
    large.add_all(ids(2000))
    assert [table.is_in_file for table in (past, small, large)] == [True, False, False]
    large.add_all(ids(9000))
    assert [table.is_in_file for table in (past, small, large)] == [True, False, True]
    assert budget.held_bytes == TABLE
    assert budget.spilled_bytes == past.table.nbytes + large.table.nbytes
    # In its file it goes on growing.
    large.add_all(ids(100_000))
    assert large.is_in_file
    assert large.used == 100_000
    assert len(large.places_in(ids(100_000))) == 100_000
    assert len(large.places_in(ids(100_000, of=2))) == 0
    large.forget()
    past.forget()
    assert (budget.held_bytes, budget.spilled_bytes) == (TABLE, 0)


def test_closed_minutes_go_before_open_ones_and_earlier_ones_before_later_ones() -> None:
    budget = Budget(1 << 30, FOLDER)
    closed = [ClosedMinute(rows(("view", "v", minute)), budget, minute) for minute in (1, 2)]
    opened = [MinuteCells(budget, minute) for minute in (3, 4)]
    for cells in opened:
        cells.add(rows(("view", "v", 1)))
    tables: list[ClosedMinute | MinuteCells] = [*closed, *opened]
    order = sorted(tables, key=lambda table: -table.coldness)
    assert order == [*closed, *opened]
    for gone in range(4):
        budget.most_bytes = budget.held_bytes - 1
        budget.changed(opened[1])
        assert [table.held_bytes == 0 for table in order] == [n <= gone for n in range(4)]
    assert [minute.rows().tobytes() for minute in closed] == [rows(("view", "v", n)).tobytes() for n in (1, 2)]
    opened[0].add(rows(*(("view", f"v{n}", n) for n in range(5000))))
    assert opened[0].held_bytes == 0
    assert sorted(zip(opened[0].videos(np.arange(len(opened[0]))), opened[0].counts().tolist(), strict=True)) == sorted(
        [(b"v", 1), *((f"v{n}".encode(), n) for n in range(5000))]
    )


def test_stretches_are_used_again_and_the_file_ends_where_the_last_one_does() -> None:
    r = random.Random(3)
    file = SpillFile(FOLDER)
    stored: dict[int, bytes] = {}
    most = 0
    for _ in range(500):
        if stored and r.random() < 0.5:
            place = r.choice(list(stored))
            file.free(place, len(stored.pop(place)))
        else:
            some = r.randbytes(r.randrange(1, 5000))
            stored[file.put(np.frombuffer(some, np.uint8))] = some
        most = max(most, sum(map(len, stored.values())))
        for place in r.sample(list(stored), min(3, len(stored))):
            assert file.get(place, len(stored[place])).tobytes() == stored[place]
    size = file._file.seek(0, 2)
    assert size == max((place + len(some) for place, some in stored.items()), default=0)
    assert size < 3 * most
    for place, some in stored.items():
        file.free(place, len(some))
    assert file._file.seek(0, 2) == 0


def test_without_room_for_files_tables_stay_in_memory_and_are_right(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    budget = Budget(0, FOLDER)
    in_file = IdIndex(budget)
    assert in_file.is_in_file
    cells = MinuteCells(budget, 1)
    cells.add(rows(("view", "v", 1)))
    with monkeypatch.context() as patch:
        patch.setattr("os.posix_fallocate", full)
        patch.setattr("os.pwrite", full)
        with caplog.at_level(logging.WARNING):
            in_file.add_all(ids(5000))
            cells.add(rows(*(("view", f"v{n}", 1) for n in range(500))))
            closed = ClosedMinute(rows(("view", "v", 7)), budget, 2)
        assert "VIEW_COUNTS_JOB_SPILL_FOLDER" in caplog.text
        assert len(caplog.records) == 1, "said once, and not for each table"
        assert len(in_file.places_in(ids(6000))) == 5000
        assert cells.events == 501
        assert closed.rows().tobytes() == rows(("view", "v", 7)).tobytes()
        assert budget.held_bytes == in_file.table.nbytes + cells.held_bytes + closed.held_bytes
    for _ in range(REQUESTS_WITHOUT_ROOM + 1):
        budget.changed(in_file)
    assert budget.held_bytes == 0, "when there is room again they go"
    assert len(in_file.places_in(ids(6000))) == 5000
    assert closed.rows().tobytes() == rows(("view", "v", 7)).tobytes()


def test_files_have_no_names(tmp_path: Path) -> None:
    budget = Budget(0, str(tmp_path))
    opened = MinuteCells(budget)
    tables: tuple[IdIndex | MinuteCells | ClosedMinute, ...] = (
        IdIndex(budget),
        opened,
        ClosedMinute(rows(("view", "v", 1)), budget, 1),
    )
    opened.add(rows(("view", "v", 1)))
    assert [table.held_bytes for table in tables] == [0, 0, 0]
    assert budget.spilled_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_a_block_keeps_what_is_written_when_its_pages_are_let_go_of() -> None:
    block = FileBlock(100_000, FOLDER)
    array = block.array(64, (10_000,), np.int64)
    assert not array.any()
    array[:] = np.arange(10_000)
    block.let_go()
    assert np.array_equal(array, np.arange(10_000))
