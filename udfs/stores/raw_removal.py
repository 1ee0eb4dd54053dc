"""Removes raw events from the object store, and finds lifecycle rules by which the bucket removes them itself."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from settings import Settings
from udfs.logic.history import raw_files
from udfs.stores.conditional_files import ConditionalFiles

# So many files are deleted in one request, between two checks of the lease.
BATCH = 500
# The codes with which S3 says that a bucket has no rules, and other stores that they do not support rules.
_NO_RULES = ("NoSuchLifecycleConfiguration", "NotImplemented", "MethodNotAllowed")


def remove(files: ConditionalFiles, paths: Sequence[str], check: Callable[[], object]) -> int:
    """Delete files of the archive, and return how many. `check` raises if they must not be deleted any more."""
    for at in range(0, len(paths), BATCH):
        check()
        files.delete(paths[at : at + BATCH])
    return len(paths)


def leftover_rules(client: Any, settings: Settings) -> list[str]:
    """Return a sentence for each lifecycle rule by which files of the archive or of history expire.

    There is also a sentence for a bucket that does not show its rules. `client` is that of
    udfs.stores.conditional_files.
    """
    folders: dict[str, list[str]] = {}
    for path in (settings.archive.path, settings.history.path):
        bucket, folder = path.removeprefix("s3://").split("/", 1)
        folders.setdefault(bucket, []).append(folder)
    return [sentence for bucket, of in folders.items() for sentence in _leftover(client, bucket, of)]


def bucket_rules(client: Any, bucket: str) -> list[dict[str, Any]]:
    """Return the lifecycle rules of a bucket, in S3's form. Raises botocore's ClientError."""
    try:
        rules: list[dict[str, Any]] = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in _NO_RULES:
            return []
        raise
    return rules


def _leftover(client: Any, bucket: str, folders: list[str]) -> Iterator[str]:
    try:
        yield from raw_files.leftover_rules(bucket_rules(client, bucket), bucket, folders)
    except client.exceptions.ClientError as error:
        yield (
            f"bucket {bucket} does not say by which lifecycle rules objects expire ({error}): allow "
            "s3:GetLifecycleConfiguration, so that a rule that removes raw events before they are counted is seen"
        )
