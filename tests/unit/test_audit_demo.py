"""What `make audit-demo` holds the counts against: the truth from what was sent, the errors, the audits foretold."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pytest

from tests.support.history import write_history
from tools.audit_demo.audits import differences_of, expected_audit
from tools.audit_demo.errors import Kind, chosen, with_errors
from tools.audit_demo.parquet import RepeatedRowError, compare, read
from tools.audit_demo.rows import (
    KEYS,
    LEDGER,
    WHATS,
    RowKind,
    Rows,
    chosen_rows,
    count_by_table,
    differing_rows,
    not_the_truth,
    place,
    with_row_errors,
    with_rows_repaired,
)
from tools.audit_demo.truth import Truth, added, summed, truth_of
from tools.load import Fate
from tools.load.traffic import EVENT
from tools.load.vocabulary import KINDS, video_names
from udfs.stores.history_store import HistoryStore

HOUR = 490_000
MINUTE = HOUR * 60


def test_a_late_event_is_added_once_unless_it_was_counted_with_the_same_time() -> None:
    sent = [
        (0, 5, Fate.COUNTED),
        # The same, too late; and stamped anew, twice.
        (0, 5, Fate.LATE),
        (0, 6, Fate.LATE),
        (0, 6, Fate.LATE),
        # Never counted.
        (4, 7, Fate.LATE),
        (5, 7, Fate.INVALID),
        (5, 7, Fate.DUPLICATE),
    ]
    events = np.zeros(len(sent), EVENT)
    events["origin"] = [origin for origin, _, _ in sent]
    events["viewed_at_ms"] = [minute * 60_000 for _, minute, _ in sent]
    fates = np.array([fate for *_, fate in sent], np.uint8)
    assert added(events, fates).tolist() == [2, 4]
    truth = truth_of(events, fates, video_names(3))
    video, kind = video_names(3).names[0].decode(), KINDS[0].decode()
    assert truth == Truth({(video, kind, 5): 1}, {(video, kind, 6): 1, (video, kind, 7): 1})
    assert truth.views() == {(video, kind, minute): 1 for minute in (5, 6, 7)}


def test_minutes_are_summed_by_span() -> None:
    minutes = {("a", "view", MINUTE): 1, ("a", "view", MINUTE + 59): 2, ("a", "view", MINUTE + 60): 4}
    assert summed(minutes, 1) == minutes
    assert summed(minutes, 60) == {("a", "view", MINUTE): 3, ("a", "view", MINUTE + 60): 4}
    assert summed(minutes, None) == {("a", "view", 0): 7}
    truth = Truth(minutes, {("a", "view", MINUTE + 60): 1})
    assert truth.before(HOUR + 1) == Truth({cell: n for cell, n in minutes.items() if n < 4}, {})


def test_parquet_that_is_not_the_truth_is_told_of(tmp_path: Path) -> None:
    minutes = {(f"v{n % 7}", "view", MINUTE + n): n + 1 for n in range(90)}
    store = HistoryStore(pyarrow.fs.LocalFileSystem(), str(tmp_path))
    manifest = write_history(store, minutes, shards=2, from_hour=HOUR, through_hour=HOUR + 2)
    store.copy(manifest)
    files = pyarrow.fs.LocalFileSystem()
    history = read(files, str(tmp_path))
    assert (history.through_hour, history.views["minutes"]) == (HOUR + 2, minutes)
    assert history.views["hours"] == summed(minutes, 60)
    by_name = {name: (rows, len(findings)) for name, rows, findings in compare(Truth(minutes, {}), history)}
    assert by_name["minutes in Parquet"] == (90, 0)
    assert by_name["hours in Parquet"] == (14, 0)
    # None was written of these.
    assert by_name["totals in Parquet"] == (7, 7)
    wrong = Truth(minutes | {("v1", "view", MINUTE + 1): 7}, {})
    assert [str(finding) for finding in next(iter(compare(wrong, history))).findings] == [
        "minutes: v1 view 2025-11-24 16:01: expected 7, found 2"
    ]
    store.put("minutes/again.parquet", pa.concat_tables([store.get(manifest.files["minutes"][HOUR][0])]))
    manifest.files["minutes"][HOUR + 1][0] = "minutes/again.parquet"
    store.copy(manifest)
    with pytest.raises(RepeatedRowError, match="minutes: "):
        read(files, str(tmp_path))


def test_errors_of_every_kind_are_chosen_and_foretold() -> None:
    counted = {(f"v{n}", "view", MINUTE + n): n + 1 for n in range(60)}
    late = {("v50", "view", MINUTE + 50): 2, ("w", "view", MINUTE): 1}
    truth = Truth(counted, late)
    errors = chosen(truth, 3, seed=1)
    assert Counter(error.kind for error in errors) == dict.fromkeys(Kind, 3)
    assert chosen(truth, 3, seed=1) == errors
    assert all(error.wrong != error.right and error.cell not in late for error in errors)
    stored = with_errors(counted, errors)
    assert {error.cell for error in errors if error.kind is Kind.LOST_ROW}.isdisjoint(stored)
    as_counted = expected_audit(truth, counted, repair=False)
    assert as_counted.sums == {
        "compared": 61, "equal": 59, "late": 2, "late_added": 3, "wrong": 0, "repaired": 0
    }  # fmt: skip
    assert as_counted.ended_well
    found = expected_audit(truth, stored, repair=False)
    assert (found.sums["wrong"], found.sums["late"], found.ended_well) == (15, 2, False)
    assert found.sums["compared"] == 61 + 3
    assert {row[:3] for row in found.corrections if row[3] == "wrong"} == {error.cell for error in errors}
    repaired = expected_audit(truth, stored, repair=True)
    assert (repaired.sums["repaired"], repaired.ended_well) == (17, True)
    assert expected_audit(truth, truth.views(), repair=False).sums["equal"] == 61
    with pytest.raises(ValueError, match="send more events"):
        chosen(truth, 30, seed=1)


def test_an_audit_that_finds_something_else_is_told_of() -> None:
    truth = Truth({("a", "view", MINUTE): 3}, {})
    expected = expected_audit(truth, {("a", "view", MINUTE): 2}, repair=False)
    assert differences_of("x", expected, expected) == []
    overlooked = replace(expected, ended_well=True, sums={**expected.sums, "equal": 1, "wrong": 0}, corrections=set())
    assert [str(finding) for finding in differences_of("x", expected, overlooked)] == [
        "audit x: equal: expected 0, found 1",
        "audit x: wrong: expected 1, found 0",
        "audit x: exit code: expected 1, found 0",
        f"audit x: cell: expected ('a', 'view', {MINUTE}, 'wrong', 2, 3, False), found nothing",
    ]


HOUR_AT = datetime.fromtimestamp(HOUR * 3600, UTC)
ROWS: Rows = {
    "views_by_hour": {(f"v{n}", "view", HOUR_AT.date().replace(day=1), HOUR_AT): n + 1 for n in range(9)},
    "views_by_day": {(f"v{n}", "view", HOUR_AT.date()): n + 1 for n in range(9)},
    "view_totals": {(f"v{n}", "view"): n + 1 for n in range(9)},
    # Of the last ones it is not known yet; in the first nothing came.
    LEDGER: {(HOUR_AT + timedelta(minutes=n), 3): 7 * n for n in range(9)},
}


def test_errors_of_every_kind_are_chosen_in_every_table() -> None:
    errors = chosen_rows(ROWS, MINUTE + 5, 2, seed=1)
    by_name = Counter((error.table, error.kind) for error in errors)
    tables = [table for table in KEYS if table != LEDGER]
    assert by_name == {
        **{(table, kind): 2 for table in tables for kind in RowKind},
        (LEDGER, RowKind.WRONG_ROW): 2,
        (LEDGER, RowKind.LOST_ROW): 2,
    }
    assert {error.place[3] - MINUTE for error in errors if error.table == LEDGER} == {1, 2, 3, 4}
    assert chosen_rows(ROWS, MINUTE + 5, 2, seed=1) == errors
    assert count_by_table(errors)["view_totals"] == 6
    spoilt, repaired = with_row_errors(ROWS, errors), with_rows_repaired(ROWS, errors)
    assert len(differing_rows(ROWS, spoilt)) == len(errors)
    # What nobody viewed stays, and says 0.
    extra = [error for error in errors if error.kind is RowKind.EXTRA_ROW]
    assert [finding.found for finding in differing_rows(ROWS, repaired)] == [0] * len(extra)
    with pytest.raises(ValueError, match="ledger has 4 rows, and 6 are needed"):
        chosen_rows(ROWS, MINUTE + 5, 3, seed=1)


def test_rows_are_named_as_an_audit_names_them_and_held_against_the_truth() -> None:
    (key, *_) = ROWS["views_by_hour"]
    assert place("views_by_hour", key) == ("views_by_hour", "v0", "view", MINUTE)
    (key, *_) = ROWS["views_by_day"]
    assert place("views_by_day", key) == ("views_by_day", "v0", "view", MINUTE // 1440 * 1440)
    assert place("view_totals", ("v0", "view")) == ("view_totals", "v0", "view", 0)
    assert place(LEDGER, (HOUR_AT, 3)) == (LEDGER, "3", "", MINUTE)
    truth = Truth(
        {(f"v{n}", "view", MINUTE + n): n for n in range(1, 9)}, {("v0", "view", MINUTE): 1, ("v1", "view", MINUTE): 1}
    )
    wrong = {str(finding) for finding in not_the_truth(truth, ROWS)}
    # v0 has 1 and v1 has 2, late ones included; each of the others lacks one.
    assert len(wrong) == 7 * 3
    assert "view_totals: ('v8', 'view', 0): expected 8, found 9" in wrong


def test_an_audit_that_overlooks_a_row_is_told_of() -> None:
    truth = Truth({("a", "view", MINUTE): 3}, {})
    errors = chosen_rows(ROWS, MINUTE + 5, 1, seed=1)
    expected = expected_audit(truth, truth.counted, repair=False, rows=errors)
    assert not expected.ended_well
    assert expected.wrong == {**dict.fromkeys(WHATS, 0), **dict.fromkeys(KEYS, 3), LEDGER: 2}
    assert sum(expected.repaired.values()) == 0
    assert expected_audit(truth, truth.counted, repair=True, rows=errors).repaired == expected.wrong
    missed = errors[0]
    overlooked = replace(
        expected,
        wrong={**expected.wrong, missed.table: expected.wrong[missed.table] - 1},
        places=expected.places - {missed.place},
    )
    assert [str(finding) for finding in differences_of("x", expected, overlooked)] == [
        f"audit x: {missed.table} wrong: expected 3, found 2",
        f"audit x: row: expected {missed.place}, found nothing",
    ]
