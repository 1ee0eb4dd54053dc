"""Rewrites files in place, but only if nobody has changed them since they were read.

pyarrow has no conditional put, so this uses boto3 (docs/decisions/0031).
"""

import hashlib
import os
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from settings import S3Settings

TIMEOUT_S = 60.0
# One request is tried so often, the first attempt included.
ATTEMPTS = 5
DELETED_AT_ONCE = 1000
# The statuses of S3 for a file that was changed meanwhile, was deleted meanwhile, or is just being put by another.
_CHANGED = (412, 404, 409)


class ConditionalPutError(RuntimeError):
    """The store does not support conditional puts. The text says what to do."""


class ConditionalFiles(Protocol):
    """Files of a store. Paths are in pyarrow's form: bucket and key, or a path of the machine."""

    def read(self, path: str) -> tuple[bytes, str]:
        """Return (content, a tag that differs for any other content). Raises FileNotFoundError."""

    def replace(self, path: str, content: bytes, tag: str) -> bool:
        """Replace the content that was read with this tag, atomically. Return False if the file has changed or gone."""

    def create(self, path: str, content: bytes) -> bool:
        """Create the file, atomically. Return False if it exists."""

    def delete(self, paths: Sequence[str]) -> None:
        """Delete those of these files that exist."""


def client_of(s3: S3Settings, timeout_s: float = TIMEOUT_S, attempts: int = ATTEMPTS) -> Any:
    """Return a client of the store. It is safe to use from many threads."""
    # Imported here, because it takes a third of a second, and Flink's workers import this file but rewrite nothing.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "s3",
        region_name=s3.region,
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=None if s3.secret_key is None else s3.secret_key.get_secret_value(),
        config=Config(
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            retries={"mode": "standard", "total_max_attempts": attempts},
            # In other stores, buckets have no names of their own in DNS, and some refuse the checksums of newer AWS
            # clients.
            s3={"addressing_style": "auto" if s3.endpoint is None else "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class S3Files:
    """Files of the object store. The tag is the ETag. Raises botocore's ClientError and BotoCoreError."""

    def __init__(self, s3: S3Settings) -> None:
        self._client = client_of(s3)

    def read(self, path: str) -> tuple[bytes, str]:
        """See ConditionalFiles."""
        bucket, key = path.split("/", 1)
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key)
        except self._client.exceptions.ClientError as error:
            if _status(error) == 404:
                raise FileNotFoundError(path) from None
            raise
        return answer["Body"].read(), answer["ETag"]

    def replace(self, path: str, content: bytes, tag: str) -> bool:
        """See ConditionalFiles."""
        return self._put(path, content, IfMatch=tag)

    def create(self, path: str, content: bytes) -> bool:
        """See ConditionalFiles."""
        return self._put(path, content, IfNoneMatch="*")

    def _put(self, path: str, content: bytes, **condition: str) -> bool:
        bucket, key = path.split("/", 1)
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=content, **condition)
        except self._client.exceptions.ClientError as error:
            if _status(error) not in _CHANGED:
                raise
            # An earlier attempt, whose answer was lost, may have put it.
            return bool(error.response["ResponseMetadata"].get("RetryAttempts")) and self._has(path, content)
        return True

    def delete(self, paths: Sequence[str]) -> None:
        """See ConditionalFiles. pyarrow's deletion would leave an empty object in place of each folder."""
        keys: dict[str, list[dict[str, str]]] = {}
        for path in paths:
            bucket, key = path.split("/", 1)
            keys.setdefault(bucket, []).append({"Key": key})
        for bucket, of in keys.items():
            for at in range(0, len(of), DELETED_AT_ONCE):
                named = {"Objects": of[at : at + DELETED_AT_ONCE], "Quiet": True}
                failed = self._client.delete_objects(Bucket=bucket, Delete=named).get("Errors", [])
                if failed:
                    raise OSError(f"{len(failed)} objects of bucket {bucket} were not deleted, the first: {failed[0]}")

    def ensure_conditional(self, folder: str) -> None:
        """Raise ConditionalPutError unless the store supports conditional puts.

        It must refuse to replace a file that has changed or gone, and to create a file that exists. A store that does
        not know a condition ignores it and puts the file.
        """
        # The name is random, so that two checks at the same time do not use the same file.
        bucket, key = f"{folder.removeprefix('s3://')}/.if-match.{secrets.token_hex(4)}".split("/", 1)
        path = f"{bucket}/{key}"
        self._client.put_object(Bucket=bucket, Key=key, Body=b"before")
        _, tag = self.read(path)
        is_changed = self.replace(path, b"after", tag)
        is_spared = not self.replace(path, b"older", tag)
        self._client.delete_object(Bucket=bucket, Key=key)
        is_left_away = not self.replace(path, b"gone", tag)
        if not is_left_away:
            self._client.delete_object(Bucket=bucket, Key=key)
        is_created = self.create(path, b"first")
        is_kept = not self.create(path, b"second")
        self._client.delete_object(Bucket=bucket, Key=key)
        if not (is_changed and is_spared and is_left_away and is_created and is_kept):
            raise ConditionalPutError(
                f"the store at s3.endpoint={self._client.meta.endpoint_url} does not do what If-Match and "
                f"If-None-Match say (put over the file that was read: {is_changed}; refused over another: {is_spared}; "
                f"refused where it was deleted: {is_left_away}; put where nothing is: {is_created}; refused where "
                f"something is: {is_kept}), and two who rewrite a file would lose what one of them wrote: use a "
                "store, or a version of it, that does"
            )

    def _has(self, path: str, content: bytes) -> bool:
        try:
            return self.read(path)[0] == content
        except FileNotFoundError:
            return False


class FolderFiles:
    """Files in a folder of this machine, for threads of one process. The tag is a hash of the content."""

    _lock = threading.Lock()

    def read(self, path: str) -> tuple[bytes, str]:
        """See ConditionalFiles."""
        content = Path(path).read_bytes()
        return content, hashlib.sha256(content).hexdigest()

    def replace(self, path: str, content: bytes, tag: str) -> bool:
        """See ConditionalFiles."""
        place = Path(path)
        with self._lock:
            try:
                if self.read(path)[1] != tag:
                    return False
            except FileNotFoundError:
                return False
            self._put(place, content)
        return True

    def create(self, path: str, content: bytes) -> bool:
        """See ConditionalFiles."""
        place = Path(path)
        with self._lock:
            if place.exists():
                return False
            place.parent.mkdir(parents=True, exist_ok=True)
            self._put(place, content)
        return True

    def _put(self, place: Path, content: bytes) -> None:
        # It is written under a hidden name, which readers ignore.
        beside = place.with_name(f".{place.name}.new")
        beside.write_bytes(content)
        os.replace(beside, place)  # noqa: PTH105 - as the name of what it does

    def delete(self, paths: Sequence[str]) -> None:
        """See ConditionalFiles."""
        with self._lock:
            for path in paths:
                Path(path).unlink(missing_ok=True)


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
