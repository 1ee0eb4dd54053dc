"""What the command takes and says: its report, in words and as JSON, and what it refuses."""

import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest
from typer.testing import CliRunner

from settings import ArchiveSettings, ErasureSettings, HistorySettings, Settings
from tests.support.archived import BlockTopic, put_archive_file
from tests.support.free_register import register_of
from tests.support.random_streams import encode
from tools import block_list
from tools.cli import app as local
from tools.erasure import Stores
from tools.ops import erasure as command
from tools.ops import operating
from udfs.logic.slices.audience import viewer_hash
from udfs.logic.stream.block_table import Period
from udfs.stores.archive import Record
from udfs.stores.conditional_files import FolderFiles
from udfs.stores.erasure_list import ErasureList, ErasureListError

# Its viewer is "viewer-2", by its first byte.
EVENT_ID = bytes([3] + [0] * 15)
AT_MS = 1_767_225_600_000
VIEWER = viewer_hash("viewer-2").hex()
# How long a broker keeps the topics that it has.
KEPT: dict[str, int] = {}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = Settings(
        archive=ArchiveSettings().model_copy(update={"path": f"{tmp_path}/archive"}),
        history=HistorySettings().model_copy(update={"path": f"{tmp_path}/history"}),
        erasure=ErasureSettings().model_copy(update={"path": f"{tmp_path}/erasures"}),
    )
    monkeypatch.setattr(operating, "Settings", lambda: made)
    monkeypatch.setattr(operating, "_reach", lambda _kafka: None)
    stores = Stores(
        pyarrow.fs.LocalFileSystem(),
        FolderFiles(),
        register_of(made.history.path),
        sleep=lambda _s: None,
        kept_ms=lambda _at, topic: KEPT.get(topic),
    )
    monkeypatch.setattr("tools.erasure.stores_of", lambda _settings, dry_run: nullcontext(stores))
    records = [Record(n, AT_MS, bytes(4), encode(0, [(EVENT_ID, "v", "view", AT_MS)], AT_MS)) for n in range(3)]
    put_archive_file(tmp_path / "archive", AT_MS // 3_600_000, 0, "part-0", records)
    return made


def run(*arguments: str, topic: BlockTopic | None = None, lines: str | None = None) -> Any:
    with (topic or BlockTopic()).in_place():
        return CliRunner().invoke(command.app, [*arguments], input=lines)


def test_the_report_in_words(settings: Settings) -> None:
    assert run("--again").output == "no erasure is open\n"
    said = run("viewer-2", "--dry-run").output
    assert "archive: 1 files read, 1 would be rewritten" in said
    assert "passes" not in said
    said = run("viewer-2").output
    assert "archive: 1 files read, 1 rewritten" in said
    assert "passes:  2, the last of which found none of them" in said
    assert f"viewer {VIEWER}: 3 events in 1 files, 0 rows of slices; the key stays until 20" in said
    assert "viewer-2" not in said
    for topic in ("view-events", "view-events-late", "view-events-dead-letter"):
        assert f"Kafka topic {topic}: " in said
    assert "blocked-viewers" not in said
    assert "uploads that were never completed, where the bucket aborts those, until 20" in said
    said = run("--again").output
    assert f"viewer {VIEWER}: nothing found" in said
    said = run("nobody").output
    assert "archive: 1 files read, 0 rewritten" in said
    assert "nothing found" in said


def test_the_report_as_json_and_ids_from_standard_input(settings: Settings) -> None:
    topic = BlockTopic()
    with topic.in_place():
        block_list.stand_in(settings.kafka, "viewer-2", [Period(5, 6)])
    result = run("-", "--json", topic=topic, lines="viewer-2\nnobody\n")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert (report["dry_run"], report["files_scanned"], report["files_rewritten"]) == (False, 1, 1)
    first, second = report["viewers"]
    assert (first["viewer"], first["events"], first["files"], first["blocked"]) == (VIEWER, 3, 1, True)
    assert (second["events"], second["blocked"]) == (0, False)
    until = {left["where"]: left["until"] for left in report["remains"]}
    now = datetime.now(UTC)
    for topic_name, days in (("view-events", 8), ("view-events-late", 31), ("view-events-dead-letter", 31)):
        assert abs(datetime.fromisoformat(until[f"Kafka topic {topic_name}"]) - now - timedelta(days=days)) < timedelta(
            minutes=5
        )
    # The name is there until somebody drops it.
    assert until["Kafka topic blocked-viewers"] is None


def test_the_list_keeps_numbers_and_no_name(settings: Settings, tmp_path: Path) -> None:
    run("viewer-2")
    (file,) = (tmp_path / "erasures").iterdir()
    assert file.name == f"{VIEWER}.json"
    kept = json.loads(file.read_text())
    assert (kept["files"], kept["events"], kept["rows"]) == (1, 3, 0)
    assert "viewer-2" not in file.read_text()
    file.write_text(json.dumps(kept | {"version": 2}))
    with pytest.raises(ErasureListError, match="is of version 2, this code reads 1: use newer code"):
        ErasureList(pyarrow.fs.LocalFileSystem(), settings.erasure.path).open()
    result = run("--again")
    assert result.exit_code == 1
    assert "use newer code" in result.output


def test_a_lost_lease_is_told_with_what_to_do(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.erasure.erasing.DEADLINE_S", -1.0)
    result = run("viewer-2")
    assert result.exit_code == 1
    assert "has passed its deadline" in result.output
    assert "the erasures stay open: run this again" in result.output
    monkeypatch.undo()
    assert ErasureList(pyarrow.fs.LocalFileSystem(), settings.erasure.path).open() != []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give viewer_ids, or --again"),
        (["v", "--again"], "give viewer_ids, or --again"),
        (["--again", "--unlist"], "--again cannot be combined"),
        ([""], "viewer_id='' names no viewer"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: Settings, arguments: list[str], complaint: str) -> None:
    result = run(*arguments)
    assert result.exit_code != 0
    assert complaint in result.output


def test_the_local_command_has_the_same_options() -> None:
    result = CliRunner().invoke(local, ["erase", "--help"])
    assert result.exit_code == 0, result.output
    assert "--unlist" in result.output


@pytest.mark.parametrize(
    ("kept_ms", "said"), [(None, None), (3_600_000, "until 20"), (-1, "until somebody removes it")]
)
def test_the_source_of_the_pack_job_remains(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, kept_ms: int | None, said: str | None
) -> None:
    if kept_ms is not None:
        monkeypatch.setitem(KEPT, settings.pack.source_topic, kept_ms)
    lines = [line for line in run("viewer-2").output.splitlines() if settings.pack.source_topic in line]
    assert len(lines) == (said is not None)
    assert all(f"events as other producers wrote them, {said}" in line for line in lines)


def test_another_form_of_the_same_letters_is_named(settings: Settings) -> None:
    said = run("caf\u00e9", "viewer-2")
    assert said.exit_code == 0
    assert said.stderr.count("more than one way") == 1
    assert "'cafe\\u0301'" in said.stderr
