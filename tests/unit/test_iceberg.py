"""Iceberg tables have the rows that the product's own reader gives, whatever was replaced, killed, remade or erased."""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from pyiceberg.expressions import EqualTo, GreaterThanOrEqual
from pyiceberg.table import StaticTable
from ruamel.yaml import YAML
from typer.testing import CliRunner

import tools.iceberg.__main__ as command
from settings import ErasureSettings
from tests.support.archived import BlockTopic
from tests.support.local_rollup import Folder, KilledError, LocalRollup, Steps
from tests.support.random_streams import NOW_MS, RULES
from tests.unit.test_rollup_killed import FIRST, KEPT, LAST, NEXT, Views
from tools import erasure
from tools.iceberg import Stores, TableError, Told, publish_tables
from udfs.logic.history.manifest import DATA_SETS, HistoryError, Manifest, no_history
from udfs.logic.slices.audience import viewer_hash
from udfs.stores.conditional_files import FolderFiles
from udfs.stores.history_store import HistoryStore

# Together they take seconds, some by what they build first: the fast tier leaves them out.
pytestmark = pytest.mark.slow

# Of these a manifest names files, and nothing else is in a table.
Rows = Counter[tuple[object, ...]]
TYPES = {
    "minutes": "video_id string, kind string, minute timestamptz, views long, late_added long, viewed_day date",
    "hours": "video_id string, kind string, hour timestamptz, views long, late_added long, viewed_day date",
    "days": "video_id string, kind string, views long, late_added long, viewed_day date",
    "totals": "video_id string, kind string, views long, late_added long",
    "countries": "video_id string, kind string, country string, views long, hour timestamptz, viewed_day date",
    "devices": "video_id string, kind string, device string, views long, viewed_day date",
    "channels": "channel_id string, kind string, hour timestamptz, views long, late_added long, viewed_day date",
    "viewers": "video_id string, kind string, viewers long, sketch binary, viewed_day date",
    "marks": "video_id string, kind string, marked long, marked_viewers long, viewed_day date",
    "suspects": "video_id string, kind string, viewer fixed[16], views long, marked long, viewed_day date",
    "top_hours": "kind string, country string, rank int, video_id string, views long, hour timestamptz, "
    "viewed_day date",
    "top_days": "kind string, country string, rank int, video_id string, views long, viewed_day date",
    "channel_totals": "channel_id string, kind string, views long, late_added long",
    "channel_top_days": "channel_id string, kind string, rank int, video_id string, views long, viewed_day date",
}
ROOT = Path(__file__).parents[2]


def no_topic(_at: object, _topic: str) -> None:
    """What a broker says of the pack job's source, where there is none."""


class Tables:
    """The tables of a history in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "iceberg"

    def publish(self, manifest: Manifest, *, steps: Steps | None = None, **options: Any) -> list[Told]:
        """Bring the tables to a manifest. Raises KilledError where steps say so."""
        steps = steps or Steps()
        return publish_tables(Stores(Folder(steps), Stepping(steps)), str(self.root), lambda: manifest, **options)

    def table(self, data_set: str) -> StaticTable:
        """What a reader finds who has no catalogue."""
        return StaticTable.from_metadata(f"file://{self.folder}/{data_set}")

    def rows(self, data_set: str) -> Rows:
        return counted(self.table(data_set).scan().to_arrow())

    def files(self, data_set: str) -> set[str]:
        """The paths below the root of what a scan reads."""
        return {self.below(task.file.file_path) for task in self.table(data_set).scan().plan_files()}

    def below(self, url: str) -> str:
        return url.removeprefix(f"file://{self.root}/")

    def contents(self) -> dict[str, bytes]:
        return contents(self.folder)


class Stepping(FolderFiles):
    """A new file is a step."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def create(self, path: str, content: bytes) -> bool:
        self._steps.step()
        return super().create(path, content)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def counted(table: pa.Table) -> Rows:
    """Rows by column name; the order of rows and of columns is nobody's promise."""
    names = sorted(table.schema.names)
    return Counter(tuple(row[name] for name in names) for row in table.to_pylist())


def of_product(store: HistoryStore, manifest: Manifest, data_set: str) -> Rows:
    """What the product's own reader gives of the manifest's files, with the day that their folders name."""
    found: Rows = Counter()
    for path in {path for of in manifest.files[data_set].values() for path in of.values()}:
        table = store.get(path)
        day = re.search(r"viewed_day=([\d-]+)/", path)
        if day is not None:
            days = pa.array([date.fromisoformat(day[1])] * table.num_rows, pa.date32())
            table = table.append_column("viewed_day", days)
        found += counted(table)
    return found


def named(manifest: Manifest, data_set: str) -> set[str]:
    return {path for of in manifest.files[data_set].values() for path in of.values()}


def few(manifest: Manifest) -> Manifest:
    """Of a manifest two data sets: one by day, and one of all time."""
    return msgspec.structs.replace(
        manifest, files={data_set: manifest.files[data_set] for data_set in ("days", "totals")}
    )


def assert_follows(tables: Tables, store: HistoryStore, manifest: Manifest) -> None:
    for data_set in manifest.files:
        if tables.folder.joinpath(data_set).is_dir() or named(manifest, data_set):
            assert tables.files(data_set) == named(manifest, data_set), data_set
            assert tables.rows(data_set) == of_product(store, manifest, data_set), data_set


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[LocalRollup, Manifest]]:
    """Copies of a history after each of three rollups, and what was in force then.

    The second adds late events to hours, so that files are replaced, and ends a day, whose hours become one file.
    """
    folder = tmp_path_factory.mktemp("stages")
    # Whoever views a video twice on a day is a suspect.
    options = {"late_hours": 24, "late_file_hours": 0, "viewer_minute_max": 1, "viewer_day_max": 1}
    rollup, views = LocalRollup(folder / "now", RULES, KEPT, **options), Views()
    found: list[Any] = []

    def keep() -> None:
        manifest = rollup.run()
        found.append((rollup.copy(folder / str(len(found))), manifest))

    for hour in FIRST:
        rollup.archive(views.hour(hour))
    keep()
    rollup.archive(views.hour(FIRST[-1] + 1, late_for=(22, 24)))
    views.close(rollup, LAST)
    keep()
    views.close(rollup, NEXT)
    keep()
    return found


@pytest.fixture
def grown(stages: list[tuple[LocalRollup, Manifest]], tmp_path: Path) -> Callable[[int], tuple[LocalRollup, Manifest]]:
    """A copy of a stage that a test may change, and tables that were there before are in it."""

    def at(stage: int) -> tuple[LocalRollup, Manifest]:
        rollup, manifest = stages[stage]
        before = tmp_path / "root" / "history" / "iceberg"
        aside = tmp_path / "aside"
        if before.is_dir():
            shutil.move(before, aside)
            shutil.rmtree(tmp_path / "root")
        made = rollup.copy(tmp_path / "root")
        if aside.is_dir():
            shutil.move(aside, before)
        return made, manifest

    return at


Grown = Callable[[int], tuple[LocalRollup, Manifest]]


def test_tables_have_the_rows_of_the_product_and_no_file_is_touched(grown: Grown) -> None:
    versions = Counter[str]()
    for stage in range(3):
        rollup, manifest = grown(stage)
        tables = Tables(rollup.root / "history")
        before = {path: content for path, content in contents(tables.root).items() if not path.startswith("iceberg/")}
        versions.update(told.data_set for told in tables.publish(manifest))
        after = {path: content for path, content in contents(tables.root).items() if not path.startswith("iceberg/")}
        assert after == before
        assert_follows(tables, rollup.store, manifest)
        # The same manifest again: nothing is written.
        there = tables.contents()
        assert tables.publish(manifest) == []
        assert tables.contents() == there
    assert {path.name for path in tables.folder.iterdir()} == set(DATA_SETS)
    assert versions == dict.fromkeys(DATA_SETS, 3)


def test_columns_have_the_types_of_what_they_hold(grown: Grown) -> None:
    rollup, manifest = grown(1)
    tables = Tables(rollup.root / "history")
    tables.publish(manifest)
    assert set(TYPES) == set(DATA_SETS)
    for data_set, types in TYPES.items():
        schema = tables.table(data_set).schema()
        assert ", ".join(f"{field.name} {field.field_type}" for field in schema.fields) == types
        spec = tables.table(data_set).spec()
        # Spark's vectorized reader takes the files' milliseconds for microseconds.
        is_vectorized = tables.table(data_set).properties.get("read.parquet.vectorization.enabled", "true")
        assert is_vectorized == ("false" if "timestamptz" in types else "true")
        assert [str(field.transform) for field in spec.fields] == ([] if data_set.endswith("totals") else ["identity"])


def test_a_replaced_file_leaves_in_the_snapshot_in_which_its_successor_enters(grown: Grown) -> None:
    sets: dict[str, list[set[str]]] = {"totals": [], "days": []}
    for stage in range(3):
        rollup, manifest = grown(stage)
        tables = Tables(rollup.root / "history")
        tables.publish(few(manifest))
        for data_set, found in sets.items():
            found.append(named(manifest, data_set))
    for data_set, expected in sets.items():
        table = tables.table(data_set)
        snapshots = sorted(table.metadata.snapshots, key=lambda one: one.sequence_number or 0)
        found = [
            {
                tables.below(entry.data_file.file_path)
                for one in snapshot.manifests(table.io)
                for entry in one.fetch_manifest_entry(table.io)
            }
            for snapshot in snapshots
        ]
        # A manifest that names the same files makes no snapshot.
        assert found == [of for at, of in enumerate(expected) if not at or of != expected[at - 1]]
        assert expected[0] - expected[1]
        assert expected[1] - expected[0]
        summary = snapshots[1].summary
        assert summary is not None
        assert summary.operation.value == "overwrite"
        assert summary["deleted-data-files"] == str(len(expected[0] - expected[1]))
        assert summary["added-data-files"] == str(len(expected[1] - expected[0]))


def test_readers_open_the_files_that_can_match_and_no_others(grown: Grown) -> None:
    rollup, manifest = grown(1)
    tables = Tables(rollup.root / "history")
    tables.publish(manifest)
    hours = tables.table("hours")
    first = datetime.fromtimestamp(NOW_MS / 1000, UTC).date()
    for day in (first, first + timedelta(days=1)):
        scan = hours.scan(EqualTo(term="viewed_day", value=day.isoformat()))
        assert {tables.below(task.file.file_path) for task in scan.plan_files()} == {
            path for path in named(manifest, "hours") if f"viewed_day={day}/" in path
        }
        assert set(scan.to_arrow()["viewed_day"].to_pylist()) == {day}
    # By the times in the files, whose milliseconds are Iceberg's microseconds.
    last = max(hours.scan().to_arrow()["hour"].to_pylist())
    scan = hours.scan(GreaterThanOrEqual(term="hour", value=last.isoformat()))
    assert 0 < len(list(scan.plan_files())) < len(named(manifest, "hours"))
    assert set(scan.to_arrow()["hour"].to_pylist()) == {last}


def test_killed_at_any_step_and_run_again(grown: Grown, tmp_path: Path) -> None:
    _, old = grown(0)
    old = few(old)
    Tables(tmp_path / "root" / "history").publish(old)
    rollup, new = grown(1)
    new = few(new)
    root = rollup.root / "history"
    shutil.copytree(root / "iceberg", tmp_path / "before")
    step = 0
    while True:
        shutil.rmtree(root / "iceberg")
        shutil.copytree(tmp_path / "before", root / "iceberg")
        tables = Tables(root)
        try:
            tables.publish(new, steps=Steps(step))
        except KilledError:
            pass
        else:
            break
        for data_set in old.files:
            assert tables.files(data_set) in (named(old, data_set), named(new, data_set)), (step, data_set)
        tables.publish(new)
        assert_follows(tables, rollup.store, new)
        step += 1
    assert tables.publish(new) == []
    # For each table a list of files or two, the list of these, the version, and the hint in two.
    assert step >= 2 * 5


def test_made_anew_tables_are_what_they_were(grown: Grown) -> None:
    rollup, manifest = grown(1)
    manifest = few(manifest)
    tables = Tables(rollup.root / "history")
    tables.publish(manifest)
    was = {data_set: tables.table(data_set).metadata for data_set in manifest.files}
    shutil.rmtree(tables.folder)
    tables.publish(manifest)
    assert_follows(tables, rollup.store, manifest)
    for data_set, metadata in was.items():
        now = tables.table(data_set).metadata
        assert (now.table_uuid, now.schema(), now.spec(), now.properties) == (
            metadata.table_uuid, metadata.schema(), metadata.spec(), metadata.properties
        )  # fmt: skip
    # And in place, beside what a reader may be reading.
    told = tables.publish(manifest, rebuild=True)
    assert {(one.data_set, one.version) for one in told} == {("days", 2), ("totals", 2)}
    assert_follows(tables, rollup.store, manifest)
    assert tables.publish(manifest) == []


def test_damaged_metadata_is_refused_until_it_is_made_anew(grown: Grown) -> None:
    rollup, manifest = grown(1)
    manifest = few(manifest)
    tables = Tables(rollup.root / "history")
    tables.publish(manifest)
    (tables.folder / "days" / "metadata" / "v1.metadata.json").write_text("{}")
    with pytest.raises(TableError, match="--rebuild"):
        tables.publish(manifest)
    tables.publish(manifest, rebuild=True)
    assert_follows(tables, rollup.store, manifest)


def test_a_lost_or_old_hint_is_written_again(grown: Grown) -> None:
    rollup, manifest = grown(1)
    manifest = few(manifest)
    tables = Tables(rollup.root / "history")
    tables.publish(manifest)
    hint = tables.folder / "days" / "metadata" / "version-hint.text"
    hint.unlink()
    assert tables.publish(manifest) == []
    assert hint.read_text() == "1"


def test_what_another_engine_did_to_a_table_is_undone(grown: Grown) -> None:
    """Its version is taken for what it is: a table that has other files than the manifest names."""
    rollup, manifest = grown(1)
    manifest = few(manifest)
    tables = Tables(rollup.root / "history")
    fewer = {"days": dict(list(manifest.files["days"].items())[:1])}
    tables.publish(msgspec.structs.replace(manifest, files=fewer))
    assert tables.files("days") < named(manifest, "days")
    tables.publish(manifest)
    assert_follows(tables, rollup.store, manifest)


def test_an_erased_viewer_leaves_the_tables(grown: Grown) -> None:
    rollup, manifest = grown(1)
    tables = Tables(rollup.root / "history")
    tables.publish(manifest)
    viewer = viewer_hash("other")
    was = tables.rows("suspects")
    assert any(viewer in row for row in was)
    # Nor did the metadata ever hold who it was.
    assert not any(viewer in content for content in tables.contents().values())

    place = ErasureSettings().model_copy(update={"path": str(rollup.root / "erasures")})
    settings = rollup.settings.model_copy(update={"erasure": place})
    stores = erasure.Stores(
        pyarrow.fs.LocalFileSystem(), FolderFiles(), rollup.registers, sleep=lambda _s: None, kept_ms=no_topic
    )
    with BlockTopic().in_place():
        report = erasure.erase(settings, stores, ["other"], datetime.fromtimestamp(NOW_MS / 1000, UTC))
    assert report.viewers[0].rows

    erased = rollup.manifest()
    assert named(erased, "suspects") == named(manifest, "suspects")
    (told,) = [one for one in tables.publish(erased) if one.data_set == "suspects"]
    assert told.added == told.removed > 0
    assert_follows(tables, rollup.store, erased)
    now = tables.rows("suspects")
    assert not any(viewer in row for row in now)
    assert now.total() == was.total()
    # What a reader needs to find the end of a file.
    for task in tables.table("suspects").scan().plan_files():
        assert task.file.file_size_in_bytes == Path(task.file.file_path.removeprefix("file://")).stat().st_size
    assert tables.publish(erased) == []


# --- what the docs say


def test_the_page_shows_a_query_that_answers(grown: Grown) -> None:
    rollup, manifest = grown(1)
    tables = Tables(rollup.root / "history")
    tables.publish(few(manifest))
    page = (ROOT / "docs" / "parquet.md").read_text()
    _where, query = re.findall(r"^```python\n(.*?)^```", page.split("\n## Iceberg\n")[1], re.MULTILINE | re.DOTALL)
    day = datetime.fromtimestamp(NOW_MS / 1000, UTC).date()
    *steps, last = query.replace("2026-01-31", day.isoformat()).splitlines()
    names = {"StaticTable": StaticTable, "iceberg": f"file://{tables.folder}", "properties": {}}
    exec("\n".join(steps), names)
    answer = eval(last, names)
    days = [rollup.store.get(path) for path in named(manifest, "days") if f"viewed_day={day}/" in path]
    viewed = [row for row in pa.concat_tables(days).to_pylist() if row["kind"] == "view"]
    expected = sorted(((row["video_id"], row["views"]) for row in viewed), key=lambda row: (-row[1], row[0]))[:10]
    assert [tuple(row.values()) for row in answer.to_pylist()] == expected != []


def test_the_cron_job_types_the_command_one_at_a_time() -> None:
    (job,) = YAML(typ="safe").load_all((ROOT / "docker/kubernetes/iceberg.yaml").read_text())
    assert (job["kind"], job["spec"]["concurrencyPolicy"]) == ("CronJob", "Forbid")
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["python", "-m", command.__package__]


# --- histories of a few files


def put(root: Path, path: str, **columns: list[object]) -> str:
    HistoryStore(pyarrow.fs.LocalFileSystem(), str(root)).put(path, pa.table(columns))
    return path


def manifest_of(token: int, *paths: str) -> Manifest:
    files = {"days": {at: {0: path} for at, path in enumerate(paths)}}
    return msgspec.structs.replace(no_history(1), token=token, files=files)


def days(root: Path, *names: str) -> list[str]:
    """Files of a day each."""
    return [put(root, f"days/viewed_day={name}/f.parquet", video_id=[name], views=[1]) for name in names]


def manifests(tables: Tables) -> set[str]:
    table = tables.table("days")
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return {one.manifest_path for one in snapshot.manifests(table.io)}


def test_a_change_writes_the_entries_of_its_month_and_leaves_the_others(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    paths = days(tmp_path, "2026-01-30", "2026-01-31", "2026-02-01", "2026-03-01")
    tables.publish(manifest_of(1, *paths))
    first = manifests(tables)
    assert len(first) == 3
    later = days(tmp_path, "2026-02-02")
    tables.publish(manifest_of(2, *paths, *later))
    second = manifests(tables)
    assert (len(second), len(first & second)) == (3, 2)
    # A month that is empty leaves with the snapshot after: the first still says what has gone.
    tables.publish(manifest_of(3, *paths[:3], *later))
    assert (len(manifests(tables)), tables.files("days")) == (3, {*paths[:3], *later})
    tables.publish(manifest_of(4, *paths[:2], *later))
    assert (len(manifests(tables)), tables.files("days")) == (2, {*paths[:2], *later})


def test_old_metadata_is_deleted_after_a_day_and_what_is_needed_stays(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    names = [f"2026-01-{day:02}" for day in range(1, 10)]
    paths = days(tmp_path, *names)
    metadata = tables.folder / "days" / "metadata"
    for token in range(1, 9):
        tables.publish(manifest_of(token, *paths[:token]))
    assert len(list(metadata.glob("v*.json"))) == 8
    (metadata / "left-by-a-kill.avro").write_bytes(b"")
    tables.publish(manifest_of(9, *paths), clock=lambda: datetime.now(UTC).timestamp() + 2 * 86_400)
    assert sorted(path.name for path in metadata.glob("v*.json")) == [f"v{n}.metadata.json" for n in range(6, 10)]
    # Of four snapshots the list, and what each of them wrote.
    assert len(list(metadata.glob("*.avro"))) == 8
    for number in range(6, 10):
        table = StaticTable.from_metadata(f"file://{metadata}/v{number}.metadata.json")
        assert len(list(table.scan().plan_files())) == number


def test_a_column_that_is_new_is_added_and_older_rows_lack_it(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    old = days(tmp_path, "2026-01-01")
    tables.publish(manifest_of(1, *old))
    ids = {field.name: field.field_id for field in tables.table("days").schema().fields}
    new = put(tmp_path, "days/viewed_day=2026-01-02/f.parquet", video_id=["b"], device=["tv"], views=[2])
    tables.publish(manifest_of(2, *old, new))
    table = tables.table("days")
    assert {field.name: field.field_id for field in table.schema().fields} == {**ids, "device": 4}
    assert sorted(table.scan().to_arrow()["device"].to_pylist(), key=str) == [None, "tv"]
    tables.publish(manifest_of(2, *old, new), rebuild=True)
    assert sorted(tables.table("days").scan().to_arrow()["device"].to_pylist(), key=str) == [None, "tv"]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array(["1"]), "column views of .* is string, in other files it is long"),
        (pa.array([1.5]), "column views of .* is double, which has no type"),
    ],
)
def test_a_column_of_another_type_is_refused(tmp_path: Path, column: pa.Array, words: str) -> None:
    tables = Tables(tmp_path)
    old = days(tmp_path, "2026-01-01")
    new = put(tmp_path, "days/viewed_day=2026-01-02/f.parquet", video_id=["b"], views=column)
    tables.publish(manifest_of(1, *old))
    with pytest.raises(TableError, match=words):
        tables.publish(manifest_of(2, *old, new))
    assert tables.files("days") == set(old)


def test_others_may_not_clean_a_table_up(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    tables.publish(manifest_of(1, *days(tmp_path, "2026-01-01")))
    assert tables.table("days").properties["gc.enabled"] == "false"


# --- with others at work


def publish_while(tables: Tables, *states: Callable[[], Manifest]) -> list[Told]:
    """Each time that the manifest in force is asked for, the next state's; the last one's for good."""
    left = iter(states)

    def in_force() -> Manifest:
        return next(left, states[-1])()

    return publish_tables(Stores(pyarrow.fs.LocalFileSystem(), FolderFiles()), str(tables.root), in_force)


def test_a_table_never_goes_back_to_an_older_manifest(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    paths = days(tmp_path, "2026-01-01", "2026-01-02")
    tables.publish(manifest_of(2, *paths))
    assert publish_while(tables, lambda: manifest_of(1, paths[0]), lambda: manifest_of(2, *paths)) == []
    assert tables.files("days") == set(paths)
    with pytest.raises(TableError, match="follows a newer manifest"):
        tables.publish(manifest_of(1, paths[0]))


def test_a_rollup_that_deletes_files_meanwhile_makes_it_begin_again(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    paths = days(tmp_path, "2026-01-01", "2026-01-02")

    def replaced() -> Manifest:
        (tmp_path / paths[0]).unlink()
        return manifest_of(1, *paths)

    (told,) = publish_while(tables, replaced, lambda: manifest_of(2, paths[1]))
    assert (told.added, tables.files("days")) == (1, {paths[1]})
    with pytest.raises(TableError, match=r"tools\.ops history verify"):
        tables.publish(manifest_of(3, *paths))


def test_of_two_runs_at_once_one_begins_again(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    paths = days(tmp_path, "2026-01-01", "2026-01-02", "2026-01-03")
    tables.publish(manifest_of(1, paths[0]))

    class Overtaken(FolderFiles):
        def create(self, path: str, content: bytes) -> bool:
            if path.endswith("v2.metadata.json") and not Path(path).exists():
                tables.publish(manifest_of(2, *paths[:2]))
            return super().create(path, content)

    stores = Stores(pyarrow.fs.LocalFileSystem(), Overtaken())
    (told,) = publish_tables(stores, str(tmp_path), lambda: manifest_of(3, *paths))
    assert (told.version, told.added, tables.files("days")) == (3, 1, set(paths))


# --- the command


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """The command on a folder, with a manifest or an error in place of Cassandra's register."""
    monkeypatch.setattr(command, "filesystem", lambda _s3: pyarrow.fs.LocalFileSystem())
    monkeypatch.setattr(command, "S3Files", lambda _s3: FolderFiles())
    settings = LocalRollup(tmp_path, RULES, {}).settings
    monkeypatch.setattr(command, "Settings", lambda: settings)

    def run(in_force: Manifest | Exception, *arguments: str) -> tuple[int, str]:
        def register(*_: object) -> Manifest:
            if isinstance(in_force, Exception):
                raise in_force
            return in_force

        monkeypatch.setattr(command, "history_in_force", register)
        result = CliRunner().invoke(command.app, arguments)
        return result.exit_code, result.output

    return run


def test_the_command_says_what_it_did_and_why_it_could_not(
    typed: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    root = tmp_path / "history"
    manifest = manifest_of(1, *days(root, "2026-01-01", "2026-01-02"))
    assert typed(manifest) == (0, "days: version 1, 2 files more, 0 fewer\n")
    assert typed(manifest) == (0, "every table is as the manifest in force says\n")
    assert typed(manifest, "--rebuild") == (0, "days: version 2, 2 files more, 0 fewer\n")
    code, text = typed(HistoryError("there is no register"))
    assert (code, text) == (1, "refused: there is no register\n")
    assert typed(manifest_of(1))[0] == 0
    assert pq.ParquetFile(root / "days/viewed_day=2026-01-01/f.parquet").metadata.num_rows == 1
