"""The objects of overflow and the accounts of drained ones, in the object store. Every call blocks.

Below the folder, `objects/` has the objects, and `drained/` has an account of the same name for each object that Kafka
has acknowledged.
"""

import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import msgspec

from settings import OverflowSettings, S3Settings
from udfs.logic.overflow.drained import Drained, drained
from udfs.logic.overflow.object_name import ObjectName, ObjectNameError, object_name
from udfs.stores.conditional_files import client_of

ATTEMPTS = 2
_OBJECTS = "objects/"
_ACCOUNTS = "drained/"


class OverflowObjects:
    """The folder of overflow. Safe to use from many threads.

    All calls raise botocore's ClientError and BotoCoreError.
    """

    def __init__(self, s3: S3Settings, overflow: OverflowSettings) -> None:
        self._s3 = s3
        self._timeout_s = overflow.timeout_s
        self._bucket, folder = overflow.path.removeprefix("s3://").split("/", 1)
        self._folder = f"{folder}/"
        self._making = threading.Lock()

    @cached_property
    def _made(self) -> Any:
        return client_of(self._s3, self._timeout_s, ATTEMPTS)

    @property
    def _client(self) -> Any:
        # It takes a third of a second to make, and two threads must not make it at once.
        with self._making:
            return self._made

    def put(self, name: ObjectName, content: bytes) -> None:
        """Store an object. It is durable when this returns."""
        self._put(_OBJECTS + name.text, content)

    def names(self) -> list[ObjectName]:
        """Return the names of all objects, the oldest first. Raises ObjectNameError for a file that is none."""
        return [object_name(text) for text in self._listed(_OBJECTS)]

    def known_names(self) -> tuple[list[ObjectName], list[str]]:
        """Return the names of all objects, the oldest first, and the names of files that are none."""
        names, others = [], []
        for text in self._listed(_OBJECTS):
            try:
                names.append(object_name(text))
            except ObjectNameError:
                others.append(text)
        return names, others

    def read(self, name: ObjectName) -> bytes | None:
        """Return an object's content; None if it is there no longer."""
        return self._read(_OBJECTS + name.text)

    def delete(self, name: ObjectName) -> None:
        """Delete an object, if it is there."""
        self._client.delete_object(Bucket=self._bucket, Key=self._folder + _OBJECTS + name.text)

    def put_account(self, name: ObjectName, account: Drained) -> None:
        """Store the account of a drained object."""
        self._put(_ACCOUNTS + name.text, account.encode())

    def accounts(self, since: ObjectName | None = None) -> list[ObjectName]:
        """Return the names of the drained objects of which there is an account, those from `since` on, or all."""
        # A listing begins after a name, and nothing is between this one and the one before.
        after = "" if since is None else since.text[:-1]
        return [object_name(text) for text in self._listed(_ACCOUNTS, after)]

    def account(self, name: ObjectName) -> Drained | None:
        """Return the account of an object; None if there is none that can be read, so that it is written again."""
        content = self._read(_ACCOUNTS + name.text)
        try:
            return None if content is None else drained(content)
        except msgspec.DecodeError:
            return None

    def delete_account(self, name: ObjectName) -> None:
        """Delete the account of an object, if it is there."""
        self._client.delete_object(Bucket=self._bucket, Key=self._folder + _ACCOUNTS + name.text)

    def _put(self, path: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._folder + path, Body=content)

    def _read(self, path: str) -> bytes | None:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._folder + path)
        except self._client.exceptions.NoSuchKey:
            return None
        return bytes(answer["Body"].read())

    def _listed(self, below: str, after: str = "") -> Sequence[str]:
        prefix = self._folder + below
        start = {"StartAfter": prefix + after} if after else {}
        pages: Iterable[Any] = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix, **start
        )
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return sorted(key.removeprefix(prefix) for key in keys)
