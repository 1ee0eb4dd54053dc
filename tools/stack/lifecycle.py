"""What the local stack does for its bucket: no rule removes raw events, and uploads that nobody completes are aborted.

On a cluster a rule of the bucket aborts uploads (docs/operations.md); SeaweedFS takes such a rule, but follows it only
when it is told to.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from settings import Settings
from udfs.logic.history.raw_files import upload_days
from udfs.stores.conditional_files import client_of
from udfs.stores.raw_removal import bucket_rules

# By which raw events left before the rollup removed them.
OLD_RULE = "raw-events"


def withdraw_rule(client: Any, bucket: str) -> bool:
    """Take the rule by which raw events left from the bucket, if it is there; whether it was. Others stay."""
    rules = bucket_rules(client, bucket)
    others = [rule for rule in rules if rule.get("ID") != OLD_RULE]
    if len(others) == len(rules):
        return False
    if others:
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": others})
    else:
        client.delete_bucket_lifecycle(Bucket=bucket)
    return True


def abort_uploads(client: Any, bucket: str, folder: str, before: datetime) -> int:
    """Abort uploads to a folder that were begun before this time and are not completed; how many."""
    old = [one for one in _uploads(client, bucket, f"{folder}/") if one["Initiated"] < before]
    for one in old:
        client.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
    return len(old)


def withdraw_old_rule(settings: Settings) -> None:
    """From the archive's bucket, as a stack of an older version may have put it there. Raises botocore's errors."""
    withdraw_rule(client_of(settings.s3), settings.archive.path.removeprefix("s3://").split("/", 1)[0])


def abort_old_uploads(settings: Settings) -> int:
    """Those to archive and history that nobody can complete any more; how many. Raises botocore's errors."""
    client, before = client_of(settings.s3), datetime.now(UTC) - timedelta(days=upload_days(settings))
    folders = [path.removeprefix("s3://").split("/", 1) for path in (settings.archive.path, settings.history.path)]
    return sum(abort_uploads(client, bucket, folder, before) for bucket, folder in folders)


def _uploads(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Uploads", [])
