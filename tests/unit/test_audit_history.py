"""An audit of everything that a rollup has left finds nothing, and finds and repairs each kind of planted error."""

import copy
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from schemas.ledger import LEDGER_COLUMNS
from tests.support.local_audit import LocalAudit, LocalTables, Sums, wrong_of
from tests.support.local_rollup import LocalRollup
from tests.support.random_streams import NOW_MS, RULES
from tests.unit.test_rollup_killed import HOUR_MS, KEPT, LAST, NEXT, Views
from udfs.logic.audit.sums import LEDGER, OF_TABLES, VIEW_TOTALS, VIEWS_BY_DAY, VIEWS_BY_HOUR, WHATS

# Together they take seconds, some by what they build first: the fast tier leaves them out.
pytestmark = pytest.mark.slow

FIRST_HOUR = NOW_MS // HOUR_MS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LocalRollup:
    """Two rollups are over: of two days one is final, hours have late events, slices are several in an hour."""
    root = tmp_path_factory.mktemp("audited") / "root"
    rollup, views = LocalRollup(root, RULES, KEPT, late_hours=24, late_file_hours=0, slice_events_max=25), Views()
    for hour in (22, 23, 24, 25):
        rollup.archive(views.hour(hour))
    rollup.run()
    rollup.archive(views.hour(26, late_for=(22, 24)))
    views.close(rollup, 27)
    rollup.run()
    return rollup


@pytest.fixture
def audited(made: LocalRollup, tmp_path: Path) -> LocalAudit:
    """One that may be spoilt."""
    rollup = made.copy(tmp_path / "copy")
    return LocalAudit(rollup, LocalTables.of(rollup))


def test_nothing_is_wrong_with_what_a_rollup_has_left(audited: LocalAudit) -> None:
    verdicts, findings = audited.run()
    assert set(findings) == set(WHATS)
    assert all(one.compared for one in findings.values()), findings
    assert wrong_of(findings) == {}
    assert sum(one.wrong for one in verdicts) == 0
    assert sum(one.compared for one in verdicts) > 50
    assert sum(one.late for one in verdicts) > 0
    assert "audit_finding_corrections" not in audited.kept


def spoil(sums: Sums) -> None:
    """A row with another number, one with another number of late views, one lost, and one of what nobody viewed."""
    names = sorted(name for name, row in sums.items() if row[0])
    views, late, written = sums[names[0]]
    sums[names[0]] = views + 7, late, written
    views, late, written = sums[names[1]]
    sums[names[1]] = views, late + 1, written
    del sums[names[2]]
    _, kind, at_ms = names[3]
    sums["nobody", kind, at_ms] = 5, 0, 1


@pytest.mark.parametrize(
    "table", [OF_TABLES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in OF_TABLES[1:])]
)
def test_errors_in_a_table_are_found_and_repaired(audited: LocalAudit, table: str) -> None:
    right = copy.deepcopy(audited.tables.sums)
    spoil(audited.tables.sums[table])
    spoilt = copy.deepcopy(audited.tables)
    _, findings = audited.run()
    assert wrong_of(findings) == {table: 4}
    assert findings[table].repaired == 0
    assert findings[table].places
    assert audited.tables == spoilt, "it was not told to repair"
    _, repaired = audited.run(repair=True)
    assert (repaired[table].wrong, repaired[table].repaired) == (4, 4)
    kept = audited.kept["audit_finding_corrections"]
    assert [(row[1], row[-1]) for row in kept] == [(table, True)] * 4
    found = {name: row[:2] for name, row in audited.tables.sums[table].items()}
    (nobody,) = set(found) - set(right[table])
    assert found == {name: row[:2] for name, row in right[table].items()} | {nobody: (0, 0)}
    assert wrong_of(audited.run()[1]) == {}


def test_rows_of_hours_that_are_not_complete_should_not_be(audited: LocalAudit) -> None:
    name = "video-1", "view", (audited._rollup.manifest().through_hour + 5) * HOUR_MS
    audited.tables.sums[VIEWS_BY_HOUR][name] = 3, 0, 1
    _, findings = audited.run(repair=True)
    assert wrong_of(findings) == {VIEWS_BY_HOUR: 1}
    assert audited.tables.sums[VIEWS_BY_HOUR][name][:2] == (0, 0)


def test_rows_of_a_rollup_that_goes_on_meanwhile_are_not_judged(audited: LocalAudit) -> None:
    """An audit that only looks holds no lease: what a newer manifest says is not wrong."""
    rollup = audited._rollup
    register = rollup.registers.read()
    assert register is not None
    token = register.token + 10**6
    newer = f"manifests/{token:020}-aa.json"
    name = min(audited.tables.sums[VIEW_TOTALS])
    audited.tables.sums[VIEW_TOTALS][name] = 10**6, 0, token
    assert wrong_of(audited.run()[1]) == {VIEW_TOTALS: 1}
    manifest = rollup.manifest()
    rollup.store.put_manifest(newer, manifest)
    rollup.registers.swap(register, msgspec.structs.replace(register, manifest=newer))
    assert wrong_of(audited.run()[1]) == {}


PARQUET = {
    # What is spoilt, what is found wrong; and the tables that are judged by it.
    "minutes": ({"minutes_parquet", "hours_parquet"}, set()),
    "hours": ({"hours_parquet", "days_parquet"}, {VIEWS_BY_HOUR}),
    "days": ({"days_parquet", "totals_parquet"}, {VIEWS_BY_DAY}),
    "totals": ({"totals_parquet"}, {VIEW_TOTALS}),
}


@pytest.mark.parametrize("data_set", PARQUET)
@pytest.mark.parametrize("is_lost", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_error_in_parquet_is_told_and_no_table_is_made_like_it(
    audited: LocalAudit, data_set: str, is_lost: bool
) -> None:
    rollup = audited._rollup
    at = max(rollup.manifest().files[data_set])
    path = next(path for path in rollup.manifest().files[data_set][at].values() if rollup.store.get(path).num_rows > 1)
    table = rollup.store.get(path)
    column = table.schema.get_field_index("views")
    spoilt = table.slice(1) if is_lost else table.set_column(
        column, "views", pc.add(table["views"], pa.array([9, *[0] * (table.num_rows - 1)]))
    )  # fmt: skip
    rollup.store.put(path, spoilt)
    tables = copy.deepcopy(audited.tables.sums)
    _, findings = audited.run(repair=True)
    in_parquet, in_tables = PARQUET[data_set]
    assert set(wrong_of(findings)) == in_parquet | in_tables
    assert all(one.repaired == 0 for one in findings.values())
    assert audited.tables.sums == tables


def test_an_error_in_the_ledger_is_found_and_repaired(audited: LocalAudit) -> None:
    right = dict(audited.tables.ledger)
    rows = sorted(right)
    # In the middle, where what comes before and after is counted.
    wrong, lost = rows[len(rows) // 2], rows[len(rows) // 3]
    audited.tables.ledger[wrong] = tuple(n + 1 for n in right[wrong])
    del audited.tables.ledger[lost]
    extra = rows[len(rows) // 2][0] + 7, 1
    audited.tables.ledger[extra] = (5, 5, *[0] * 8)
    _, findings = audited.run()
    assert wrong_of(findings) == {LEDGER: 3}
    kept = audited.kept["audit_finding_corrections"]
    assert {(row[5], row[6]) for row in kept if row[4].timestamp() == wrong[0] * 60} == {
        (str(wrong[1]), name) for name in LEDGER_COLUMNS
    }
    _, findings = audited.run(repair=True)
    assert (findings[LEDGER].wrong, findings[LEDGER].repaired) == (3, 3)
    assert audited.tables.ledger == right | {extra: (0,) * len(LEDGER_COLUMNS)}
    assert wrong_of(audited.run()[1]) == {}


def test_a_day_that_is_final_is_audited_as_one_file(tmp_path: Path) -> None:
    rollup, views = LocalRollup(tmp_path, RULES, KEPT, late_hours=24, late_file_hours=0), Views()
    for hour in (22, 23, 24):
        rollup.archive(views.hour(hour))
    views.close(rollup, LAST)
    views.close(rollup, NEXT)
    manifest = rollup.run()
    assert len({of[0] for hour, of in manifest.files["minutes"].items() if hour < FIRST_HOUR + 24}) == 1
    _, findings = LocalAudit(rollup, LocalTables.of(rollup)).run()
    assert wrong_of(findings) == {}
