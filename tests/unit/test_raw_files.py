"""Raw events leave when history counts them for good and they are old; what does otherwise is told to operators."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from settings import ArchiveSettings, CountingSettings, HistorySettings, KafkaSettings, Settings
from settings.durations import DAY_MS
from tests.unit.test_conditional_files import Refused
from tools.stack.lifecycle import abort_uploads, withdraw_rule
from udfs.logic.history.raw_files import leftover_rules, overdue_raw, raw_files_to_remove, upload_days
from udfs.stores import raw_removal
from udfs.stores.raw_removal import remove

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
# Half an hour into an hour.
NOW = datetime(2026, 1, 31, 22, 30, tzinfo=UTC)
HOUR = int(NOW.timestamp()) // 3600


class File(NamedTuple):
    """A file of the archive."""

    hour: int


FILES = [File(HOUR - ago) for ago in range(24 * 10)]


@pytest.mark.parametrize(
    ("kept_days", "final_ago", "removed_ago"),
    [
        # Old enough: the whole hour is, and the oldest manifest has it for good.
        (7, 0, 7 * 24 + 1),
        (1, 0, 25),
        # A rollup that is behind, or an old manifest that is kept, holds back what is old.
        (7, 8 * 24, 8 * 24 + 1),
        (7, 9 * 24, 9 * 24 + 1),
    ],
)
def test_files_go_when_they_are_old_and_counted_for_good(kept_days: int, final_ago: int, removed_ago: int) -> None:
    gone = raw_files_to_remove(FILES, NOW, kept_days=kept_days, final_arrival_hour=HOUR - final_ago)
    assert [HOUR - file.hour for file in gone] == list(range(removed_ago, 240))


def test_with_no_manifest_nothing_is_final() -> None:
    assert raw_files_to_remove(FILES, NOW, kept_days=1, final_arrival_hour=0) == []


def test_raw_events_that_should_be_gone_are_told() -> None:
    assert overdue_raw(FILES[: 8 * 24 + 1], NOW, 7) is None
    said = overdue_raw(FILES[: 8 * 24 + 3], NOW, 7)
    assert said is not None
    assert said.startswith("2 files of raw events are older than archive.kept_days=7 and a day")
    assert "the oldest from 2026-01-23T20:00Z" in said


def rule(prefix: str, **more: Any) -> dict[str, Any]:
    return {
        "ID": "of-somebody",
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "Expiration": {"Days": 9},
    } | more


@pytest.mark.parametrize(
    ("found", "touched"),
    [
        (rule("archive/"), "archive"),
        (rule(""), "archive and history"),
        (rule("arch"), "archive"),
        (rule("history/totals/"), "history"),
        (rule("archived/"), None),
        (rule("checkpoints/"), None),
        (rule("archive/", Status="Disabled"), None),
        (rule("archive/", Expiration={"ExpiredObjectDeleteMarker": True}), None),
        (rule("archive/", Expiration={"Date": "2026-01-01"}), "archive"),
        ({"ID": "of-somebody", "Status": "Enabled", "Prefix": "history", "Expiration": {"Days": 9}}, "history"),
        (rule("", Filter={"And": {"Prefix": "archive/", "Tags": []}}), "archive"),
        ({"ID": "a", "Status": "Enabled", "Filter": {}, "AbortIncompleteMultipartUpload": {}}, None),
    ],
)
def test_a_rule_by_which_archive_or_history_expires_is_named(found: dict[str, Any], touched: str | None) -> None:
    said = leftover_rules([found], "events", ["archive", "history"])
    assert len(said) == (touched is not None)
    if touched is not None:
        assert said[0].startswith("bucket events has a lifecycle rule 'of-somebody'")
        assert f"those of {touched} among them: delete the rule" in said[0]


class Bucket:
    """A client of buckets that have rules, or do not say."""

    class exceptions:  # noqa: N801, D106 - as boto3 has it
        ClientError = Refused

    def __init__(self, rules: dict[str, list[dict[str, Any]]], refusal: str = "NoSuchLifecycleConfiguration") -> None:
        self.rules = rules
        self._refusal = refusal

    def get_bucket_lifecycle_configuration(self, *, Bucket: str) -> dict[str, Any]:  # noqa: N803
        if Bucket in self.rules:
            return {"Rules": self.rules[Bucket]}
        error = Refused(403)
        error.response["Error"] = {"Code": self._refusal}
        raise error

    def put_bucket_lifecycle_configuration(self, *, Bucket: str, LifecycleConfiguration: Any) -> None:  # noqa: N803
        self.rules[Bucket] = LifecycleConfiguration["Rules"]

    def delete_bucket_lifecycle(self, *, Bucket: str) -> None:  # noqa: N803
        del self.rules[Bucket]


def test_each_bucket_is_asked_for_its_folders() -> None:
    settings = Settings(archive=ArchiveSettings(path="s3://raw/a/b"), history=HistorySettings(path="s3://counted/hh"))
    rules = {"raw": [rule("a/b/"), rule("hh/")], "counted": [rule("a/b/")]}
    (said,) = raw_removal.leftover_rules(Bucket(rules), settings)
    assert "bucket raw" in said
    assert raw_removal.leftover_rules(Bucket({}), settings) == []
    refused = raw_removal.leftover_rules(Bucket({}, "AccessDenied"), settings)
    assert [sentence.split(" does not say")[0] for sentence in refused] == ["bucket raw", "bucket counted"]


def test_only_the_old_rule_is_withdrawn() -> None:
    bucket = Bucket({"events": [rule("archive/", ID="raw-events"), rule("x/")]})
    assert withdraw_rule(bucket, "events")
    assert bucket.rules == {"events": [rule("x/")]}
    assert not withdraw_rule(bucket, "events")
    bucket = Bucket({"events": [rule("archive/", ID="raw-events")]})
    assert withdraw_rule(bucket, "events")
    assert bucket.rules == {}
    assert not withdraw_rule(bucket, "events")


class Deleted:
    """Files of which only deletes are told."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def read(self, path: str) -> tuple[bytes, str]:
        raise FileNotFoundError(path)

    def replace(self, path: str, content: bytes, tag: str) -> bool:
        return False

    def create(self, path: str, content: bytes) -> bool:
        return False

    def delete(self, paths: Sequence[str]) -> None:
        self.paths += paths


def test_the_lease_is_looked_at_before_each_batch_of_deletes() -> None:
    paths = [f"raw/{n}" for n in range(2 * raw_removal.BATCH + 1)]
    files = Deleted()
    looks: list[int] = []
    assert remove(files, paths, lambda: looks.append(len(files.paths))) == len(paths)
    assert files.paths == paths
    assert looks == [0, raw_removal.BATCH, 2 * raw_removal.BATCH]

    def lost() -> None:
        if files.paths:
            raise RuntimeError("somebody else holds it")

    files = Deleted()
    with pytest.raises(RuntimeError):
        remove(files, paths, lost)
    assert files.paths == paths[: raw_removal.BATCH]
    remove(Deleted(), [], lambda: pytest.fail("nothing is deleted"))


def test_old_uploads_of_a_folder_are_aborted() -> None:
    uploads = [
        {"Key": "archive/old", "UploadId": "1", "Initiated": NOW - timedelta(days=9)},
        {"Key": "archive/new", "UploadId": "2", "Initiated": NOW - timedelta(days=7)},
    ]
    aborted = []

    class Client:
        def get_paginator(self, of: str) -> Any:
            assert of == "list_multipart_uploads"
            return self

        def paginate(self, *, Bucket: str, Prefix: str) -> Any:  # noqa: N803
            assert (Bucket, Prefix) == ("events", "archive/")
            return [{}, {"Uploads": uploads}]

        def abort_multipart_upload(self, **named: str) -> None:
            aborted.append(named)

    assert abort_uploads(Client(), "events", "archive", NOW - timedelta(days=8)) == 1
    assert aborted == [{"Bucket": "events", "Key": "archive/old", "UploadId": "1"}]


def test_uploads_stay_for_longer_than_a_checkpoint_is_of_use() -> None:
    assert upload_days(Settings()) == 8
    of_kafka = Settings(
        kafka=KafkaSettings(retention_ms=10 * DAY_MS + 1), counting=CountingSettings(state_ttl_ms=20 * DAY_MS)
    )
    assert upload_days(of_kafka) == 12
    assert upload_days(Settings(archive=ArchiveSettings(kept_days=30))) == 30


def test_the_documented_rule_aborts_uploads_and_nothing_else() -> None:
    (block,) = (block for block in re.findall(r"```json\n(.*?)```", OPERATIONS, re.DOTALL) if "Rules" in block)
    rules = json.loads(block)["Rules"]
    assert leftover_rules(rules, "view-counts", ["archive", "history"]) == []
    folders = [path.removeprefix("s3://view-counts/") for path in (Settings().archive.path, Settings().history.path)]
    assert [one["Filter"]["Prefix"] for one in rules] == [f"{folder}/" for folder in folders]
    assert {one["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] for one in rules} == {upload_days(Settings())}
    assert {one["Status"] for one in rules} == {"Enabled"}
