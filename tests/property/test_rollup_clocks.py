"""Rollups of an archive whose brokers' clocks step forth and back: what the stream's rule says, whenever they run."""

import collections
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings import KafkaSettings
from settings.durations import HOUR_MS, MINUTE_MS
from tests.property.test_slice_counts import counted_events
from tests.support.local_rollup import LocalRollup
from tests.support.random_streams import FAR_MS, NOW_MS, RULES, Record, blocked_rests, encode, random_log
from tests.support.tiers import examples
from udfs.logic.history.manifest import date_of

LATE_HOURS = 48
Total = tuple[str, str]


def totals(rollup: LocalRollup) -> dict[Total, int]:
    """By (kind, video), as the table has them."""
    rows = rollup.tables.get("view_totals", {}).values()
    return {
        (bytes(row["kind"]).decode(), bytes(row["video_id"]).decode()): int.from_bytes(row["views"], "big")  # type: ignore[call-overload, arg-type]
        for row in rows
    }


def expected(log: list[list[Record]], through_hour: int) -> dict[Total, int]:
    """By the words of the rules: what was viewed before the end of history."""
    in_time, added, _ = counted_events(log, RULES, LATE_HOURS * HOUR_MS)
    cells = [cell for _, cell in (*in_time, *added) if cell[2] < through_hour * 60]
    return dict(collections.Counter(cell[:2] for cell in cells))


def rollup_of(root: Path) -> LocalRollup:
    kept = {KafkaSettings().blocked_topic: blocked_rests()}
    return LocalRollup(root, RULES, kept, late_hours=LATE_HOURS)


@examples(full=12)
@given(st.integers(min_value=0, max_value=2**48))
@pytest.mark.slow
def test_history_has_what_the_stream_s_rule_says_whatever_brokers_clocks_do(seed: int) -> None:
    r = random.Random(seed)
    log = random_log(r, RULES)
    end = max(records[-1][2] for records in log)
    for hours in (1, 2):
        at = end + hours * HOUR_MS
        for salt, records in enumerate(log):
            records.append((at + r.choice([0, FAR_MS]), encode(salt, [], at), at, []))
    with tempfile.TemporaryDirectory() as folder:
        rollup = rollup_of(Path(folder))
        for step in range(len(log[0])):
            order = r.sample(range(RULES.salts), RULES.salts)
            rollup.archive((log[salt][step][0], salt, log[salt][step][1]) for salt in order)
            if r.random() < 0.05:
                rollup.run()
        manifest = rollup.run()
        assert manifest.through_hour >= (end + HOUR_MS) // HOUR_MS
        assert manifest.through_hour <= (end + 3 * HOUR_MS) // HOUR_MS, "an hour closed that has not come"
        assert (manifest.missing, manifest.gap_hours) == ({}, [])
        assert totals(rollup) == expected(log, manifest.through_hour)


def heartbeats(at: int, stamp: int) -> list[tuple[int, int, bytes]]:
    return [(stamp, salt, encode(salt, [], at)) for salt in range(RULES.salts)]


def test_one_record_stamped_far_ahead_closes_no_hour_and_stops_no_rollup(tmp_path: Path) -> None:
    rollup = rollup_of(tmp_path)
    for hour in range(3):
        for minute in range(0, 60, 10):
            at = NOW_MS + hour * HOUR_MS + minute * MINUTE_MS
            rollup.archive(heartbeats(at, at))
            if (hour, minute) == (2, 20):
                rollup.archive(heartbeats(at, at + FAR_MS)[:1])
                # In the middle of hour 2.
                assert set(rollup.run().last_hours.values()) == {NOW_MS // HOUR_MS + 1}
    at = NOW_MS + 3 * HOUR_MS
    rollup.archive(heartbeats(at, at))
    manifest = rollup.run()
    assert set(manifest.last_hours.values()) == {NOW_MS // HOUR_MS + 2}
    assert set(manifest.next_hours.values()) == {NOW_MS // HOUR_MS + 3}
    register = rollup.registers.read()
    assert register is not None
    assert register.applied is not None
    warning = "1 files of raw events lie in folders of hours that have not come"
    assert any(sentence.startswith(warning) for sentence in register.applied.warnings)


@pytest.mark.slow
def test_a_partition_whose_stamps_are_all_far_ahead_is_counted_hour_by_hour(tmp_path: Path) -> None:
    rollup = rollup_of(tmp_path)
    for hour in range(5):
        at = NOW_MS + hour * HOUR_MS + MINUTE_MS
        ahead = FAR_MS if hour else 0
        rollup.archive([(stamp + ahead * (salt % 2), salt, value) for stamp, salt, value in heartbeats(at, at)])
        rollup.run()
    manifest = rollup.manifest()
    assert set(manifest.last_hours.values()) == {NOW_MS // HOUR_MS + 3}
    assert manifest.gap_hours == []
    # And its raw files go when those of the other one do.
    first = f"arrival_day={date_of((NOW_MS + FAR_MS) // (24 * HOUR_MS)):%Y-%m-%d}/*/kafka_partition=1/part-*"
    assert list((tmp_path / "archive").glob(first))
    for days in range(1, 10):
        at = NOW_MS + days * 24 * HOUR_MS
        rollup.archive([(stamp + FAR_MS * (salt % 2), salt, value) for stamp, salt, value in heartbeats(at, at)])
        rollup.run()
    assert rollup.manifest().missing == {}
    assert not list((tmp_path / "archive").glob(first))
