"""Savepoints of every released version of the state are restored by this code, at other parallelisms, exactly."""

import gzip
from pathlib import Path

import pytest

from tests.support import golden_savepoint as golden
from tests.support.jobs import cancel
from tests.support.metadata import Publisher, titles
from tests.support.records import count
from tests.support.waiting import eventually
from tools.stack import Stack

# By file, the parallelism it is restored at; each was made at 2.
RESTORED_AT = {
    "dedup-1-window-1": 1,
    "dedup-1-window-2": 4,
    "dedup-1-window-2-enrich-1": 1,
    "dedup-2-window-3-enrich-1-settings-1": 2,
}

KNOW_SETTINGS = {name for name in RESTORED_AT if name.endswith("-settings-1")}
# Tried without as well.
REFUSED = "dedup-1-window-1"
# CI restores the newest.
ALWAYS = {max(RESTORED_AT)}


def test_every_golden_savepoint_is_tested() -> None:
    assert {path.name.removesuffix(".metadata.gz") for path in golden.FOLDER.iterdir()} == set(RESTORED_AT)


@pytest.mark.parametrize(
    "name", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.nightly) for name in RESTORED_AT]
)
def test_counting_goes_on_from_it(shared_stack: Stack, tmp_path: Path, name: str) -> None:
    (tmp_path / "_metadata").write_bytes(gzip.decompress((golden.FOLDER / f"{name}.metadata.gz").read_bytes()))
    with golden.installation_of(shared_stack, name) as installation:
        feeder = golden.feed(installation, name)
        # Known by state alone: these are not read again. Then new ones, of both open minutes.
        later_ms = golden.SECOND_MS + 10_000
        known = [*golden.FIRST[:100], *golden.SECOND[:50]]
        new = [*golden.views(1000, 70, 0), *golden.views(1070, 30, 1)]
        feeder.send([*known, *new], later_ms)
        # State of before it said by which settings it was made.
        if name == REFUSED:
            refused = installation.start(savepoint=tmp_path.as_uri())
            reason = "the state of dedup does not say that it was made by"
            assert eventually(lambda: reason in str(shared_stack.flink_rest(f"/jobs/{refused}/exceptions")))
            cancel(shared_stack, refused)
        accepting = [] if name in KNOW_SETTINGS else ["--accept-settings"]
        job = installation.start(parallelism=RESTORED_AT[name], savepoint=tmp_path.as_uri(), options=accepting)
        assert eventually(lambda: installation.ledger()["records"] == feeder.records), installation.ledger()
        assert installation.parallelism(job) == RESTORED_AT[name]
        expected = count([*golden.FIRST, *golden.SECOND, *new])
        assert eventually(lambda: installation.views() == expected), installation.views()
        # The tables are empty when the job starts: all that it writes comes from the savepoint or from after it.
        assert installation.fates() == {"received": feeder.events, "counted": 1100, "duplicate": 150}
        if golden.ENRICHED in name:
            # What is known is read from its topic; of a video that was viewed before only, partitions are remembered.
            Publisher(installation).titles({"video-20": "late"})
            known_titles = {**golden.TITLES, "video-20": "late"}
            assert eventually(lambda: {v: t for (v, _), t in titles(installation).items() if t} == known_titles)
        assert installation.restarts(job) == 0
