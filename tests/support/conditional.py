"""What any ConditionalFiles must do, for a folder in memory of the machine and for a real object store alike."""

import threading
from collections.abc import Callable

import pytest

from udfs.stores.conditional_files import ConditionalFiles

RACES = 50
WRITERS = 2


def check_files(files: ConditionalFiles, root: str, put: Callable[[str, bytes], object]) -> None:
    """`put` makes a file at a path below `root`, whatever was there."""
    path = f"{root}/file"
    with pytest.raises(FileNotFoundError):
        files.read(path)
    assert not files.replace(path, b"from nothing", '"d41d8cd98f00b204e9800998ecf8427e"')
    with pytest.raises(FileNotFoundError):
        files.read(path)
    assert files.create(path, b"created")
    assert not files.create(path, b"created again")
    assert files.read(path)[0] == b"created"
    put(path, b"first")
    content, first = files.read(path)
    assert content == b"first"
    assert files.replace(path, b"second", first)
    content, second = files.read(path)
    assert (content, second != first) == (b"second", True)
    # With the tag of what was there before.
    assert not files.replace(path, b"third", first)
    assert files.read(path) == (b"second", second)
    assert files.replace(path, b"", second)
    assert files.read(path)[0] == b""
    # What others put is another file too.
    _, empty = files.read(path)
    put(path, b"of somebody else")
    assert not files.replace(path, b"fourth", empty)
    assert files.read(path)[0] == b"of somebody else"


def check_races(files: ConditionalFiles, root: str, put: Callable[[str, bytes], object]) -> None:
    """Writers who have read the same race: one of them wins, each time, and what it wrote is there, whole."""
    for race in range(RACES):
        path = f"{root}/race-{race}"
        # Large ones are longer under way, between the check of their condition and their end.
        size = 1 << (20 if race % 2 else 4)
        # Every other two times nothing is there before.
        is_new = race % 4 >= 2
        if not is_new:
            put(path, bytes(size))
        tag = "" if is_new else files.read(path)[1]
        start = threading.Barrier(WRITERS)
        won: dict[int, bool] = {}

        def write(writer: int) -> None:
            start.wait()  # noqa: B023 - joined below
            content = bytes([writer + 1]) * size  # noqa: B023 - joined below
            won[writer] = (  # noqa: B023 - joined below
                files.replace(path, content, tag) if tag else files.create(path, content)  # noqa: B023 - joined below
            )

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [writer for writer in range(WRITERS) if won[writer]]
        assert len(winners) == 1, (race, won)
        assert files.read(path)[0] == bytes([winners[0] + 1]) * size
