"""The kinds that the query service knows of videos: from lists of rollups and imports, and those always asked for."""

import asyncio
from datetime import date
from pathlib import Path

import msgspec
import pytest

from services.query.counts.completeness import HistoryAwayError
from services.query.counts.kinds import KindsOfVideo
from services.query.counts.store import VIDEOS_AT_ONCE, CountStore
from settings import QuerySettings
from tests.support.full_tables import HOUR, NOW, empty_history, full
from tests.support.tables import Tables
from udfs.logic.history.register import Applied

LONG_AGO, JUST_NOW = (int((NOW - ago * HOUR).timestamp()) // 60 for ago in (30, 0))


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    made = full(empty_history(tmp_path))
    CountStore.__init__(made, made._session, QuerySettings(), made._history, ["like"])
    made._rolled = {("A", "view", LONG_AGO): 1, ("A", "share", LONG_AGO): 1, ("B", "new", JUST_NOW): 1}
    made.imported_views = {("A", "old", None): 1, ("C", "old", date(2026, 1, 1)): 1}
    return made


def test_they_are_those_of_history_of_imports_and_the_declared_ones(tables: Tables) -> None:
    found = asyncio.run(tables.kinds_of(["A", "B", "C", "A"], tables.known))
    assert found == {
        "A": KindsOfVideo(["like", "old", "share", "view"], 0),
        # Not counted by a rollup yet, and not declared.
        "B": KindsOfVideo(["like", "view"], 0),
        "C": KindsOfVideo(["like", "old", "view"], 0),
    }


def test_many_videos_are_asked_for_in_parts(tables: Tables) -> None:
    videos = [f"v{n}" for n in range(2 * VIDEOS_AT_ONCE)]
    assert set(asyncio.run(tables.kinds_of(videos, tables.known))) == {*videos}
    assert tables.asked.count("kinds") == 2


def test_until_a_rollup_has_written_the_lists_nobody_knows(tables: Tables) -> None:
    register = tables._register
    assert register is not None
    assert register.applied is not None
    # What the code of before wrote.
    of_before = msgspec.to_builtins(register.applied, str_keys=True)
    del of_before["has_kinds"]
    applied = msgspec.convert(of_before, Applied, str_keys=True)
    tables._register = msgspec.structs.replace(register, applied=applied)
    with pytest.raises(HistoryAwayError, match="the next rollup writes the lists"):
        asyncio.run(tables.kinds_of(["A"], tables.known))
