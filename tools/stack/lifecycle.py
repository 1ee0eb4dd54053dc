"""Looks after the local stack's bucket: removes an old rule, and aborts uploads that no process will complete.

On a cluster a rule of the bucket aborts uploads (docs/operations.md). SeaweedFS accepts such a rule, but applies it
only when it is asked to.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from settings import Settings
from udfs.logic.history.raw_files import upload_days
from udfs.stores.conditional_files import client_of
from udfs.stores.raw_removal import bucket_rules

# The rule that removed raw events in versions before the rollup did.
OLD_RULE = "raw-events"


def withdraw_rule(client: Any, bucket: str) -> bool:
    """Remove the old rule for raw events from the bucket. Other rules stay. Returns whether it was there."""
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
    """Abort uploads to a folder that were begun before this time and are not complete. Returns how many."""
    old = [one for one in _uploads(client, bucket, f"{folder}/") if one["Initiated"] < before]
    for one in old:
        client.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
    return len(old)


def withdraw_old_rule(settings: Settings) -> None:
    """Remove the old rule, which an older version may have set, from the archive's bucket. Raises botocore's errors."""
    withdraw_rule(client_of(settings.s3), settings.archive.path.removeprefix("s3://").split("/", 1)[0])


def abort_old_uploads(settings: Settings) -> int:
    """Abort uploads to archive and history that no process can complete any more. Returns how many.

    Raises botocore's errors.
    """
    client, before = client_of(settings.s3), datetime.now(UTC) - timedelta(days=upload_days(settings))
    folders = [path.removeprefix("s3://").split("/", 1) for path in (settings.archive.path, settings.history.path)]
    return sum(abort_uploads(client, bucket, folder, before) for bucket, folder in folders)


def _uploads(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Uploads", [])
