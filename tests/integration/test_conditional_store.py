"""SeaweedFS does what If-Match says, also when two write at once; raw events and unfinished uploads leave it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyarrow.fs import FileType

from settings import ArchiveSettings, S3Settings, Settings
from tests.support.conditional import check_files, check_races
from tools.stack import Stack
from tools.stack.files import S3_BUCKET
from tools.stack.lifecycle import abort_uploads, withdraw_rule
from tools.stack.object_store import s3_settings
from udfs.stores.archive import filesystem
from udfs.stores.conditional_files import S3Files, client_of
from udfs.stores.raw_removal import bucket_rules, leftover_rules, remove

ROOT = "conditional"


@pytest.fixture
def s3(shared_stack: Stack) -> S3Settings:
    return s3_settings(shared_stack)


def test_seaweedfs_puts_nothing_over_what_is_another_by_now(s3: S3Settings) -> None:
    client = client_of(s3)

    def put(path: str, content: bytes) -> None:
        client.put_object(Bucket=S3_BUCKET, Key=path.removeprefix(f"{S3_BUCKET}/"), Body=content)

    files = S3Files(s3)
    files.ensure_conditional(f"s3://{S3_BUCKET}/{ROOT}")
    check_files(files, f"{S3_BUCKET}/{ROOT}", put)
    check_races(files, f"{S3_BUCKET}/{ROOT}", put)


def test_a_file_that_was_uploaded_in_parts_is_replaced_like_any_other(s3: S3Settings) -> None:
    """As Flink and pyarrow write."""
    path = f"{S3_BUCKET}/{ROOT}/parts"
    with filesystem(s3).open_output_stream(path) as stream:
        for part in range(3):
            stream.write(bytes([part]) * (6 << 20))
    files = S3Files(s3)
    content, tag = files.read(path)
    assert len(content) == 18 << 20
    # Not a hash of the content, as that of a file that was put whole.
    assert "-" in tag
    assert files.replace(path, b"new", tag)
    assert not files.replace(path, b"newer", tag)
    assert files.read(path)[0] == b"new"


def keys_of(client: Any, folder: str) -> set[str]:
    found = client.list_objects_v2(Bucket=S3_BUCKET, Prefix=f"{folder}/").get("Contents", [])
    return {one["Key"] for one in found}


def test_raw_events_are_removed_by_name(s3: S3Settings) -> None:
    client, folder = client_of(s3), f"{ROOT}/removed"
    keys = [f"{folder}/arrival_hour={hour:02}/part-{n}" for hour in range(2) for n in range(3)]
    for key in keys:
        client.put_object(Bucket=S3_BUCKET, Key=key, Body=b"raw")
    checks: list[int] = []
    paths = [f"{S3_BUCKET}/{key}" for key in (*keys[:4], f"{folder}/none")]
    assert remove(S3Files(s3), paths, lambda: checks.append(1)) == 5
    assert (keys_of(client, folder), checks) == ({*keys[4:]}, [1])
    # No empty object stands for a folder.
    store = filesystem(s3)
    assert [info.type for info in store.get_file_info([f"{S3_BUCKET}/{keys[0]}"])] == [FileType.NotFound]


def test_the_rule_by_which_raw_events_left_is_withdrawn_and_others_stay_and_are_told(s3: S3Settings) -> None:
    client = client_of(s3)
    settings = Settings(archive=ArchiveSettings(path=f"s3://{S3_BUCKET}/{ROOT}/archive"))
    # A stack begins without any.
    assert bucket_rules(client, S3_BUCKET) == []
    assert leftover_rules(client, settings) == []
    old = {
        "ID": "raw-events",
        "Status": "Enabled",
        "Filter": {"Prefix": f"{ROOT}/archive/"},
        "Expiration": {"Days": 7},
    }
    other = {"ID": "other", "Status": "Enabled", "Filter": {"Prefix": "elsewhere/"}, "Expiration": {"Days": 1}}
    client.put_bucket_lifecycle_configuration(Bucket=S3_BUCKET, LifecycleConfiguration={"Rules": [old, other]})
    (sentence,) = leftover_rules(client, settings)
    assert "'raw-events'" in sentence
    assert "after 7 days" in sentence
    assert withdraw_rule(client, S3_BUCKET)
    assert [rule["ID"] for rule in bucket_rules(client, S3_BUCKET)] == ["other"]
    assert not withdraw_rule(client, S3_BUCKET)
    client.put_bucket_lifecycle_configuration(Bucket=S3_BUCKET, LifecycleConfiguration={"Rules": [old]})
    assert withdraw_rule(client, S3_BUCKET)
    assert bucket_rules(client, S3_BUCKET) == []


def test_unfinished_uploads_are_aborted_when_they_are_old(s3: S3Settings) -> None:
    client, folder = client_of(s3), f"{ROOT}/uploads"

    def begin(key: str) -> str:
        upload: str = client.create_multipart_upload(Bucket=S3_BUCKET, Key=key)["UploadId"]
        client.upload_part(Bucket=S3_BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=bytes(5 << 20))
        return upload

    begin(f"{folder}/a")
    begin(f"{folder}/b")
    begin(f"{ROOT}/elsewhere")
    now = datetime.now(UTC)
    assert abort_uploads(client, S3_BUCKET, folder, now - timedelta(minutes=5)) == 0
    assert abort_uploads(client, S3_BUCKET, folder, now + timedelta(minutes=5)) == 2
    assert abort_uploads(client, S3_BUCKET, folder, now + timedelta(minutes=5)) == 0
    left = client.list_multipart_uploads(Bucket=S3_BUCKET, Prefix=f"{ROOT}/").get("Uploads", [])
    assert [upload["Key"] for upload in left] == [f"{ROOT}/elsewhere"]
