"""Rewriting in place in a folder; that on a real object store is tests/integration/test_conditional_store.py."""

from pathlib import Path
from typing import Any

import pytest

from settings import S3Settings
from tests.support.conditional import check_files, check_races
from udfs.stores.conditional_files import ConditionalPutError, FolderFiles, S3Files


def put(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


def test_a_file_is_replaced_only_as_it_was_read(tmp_path: Path) -> None:
    check_files(FolderFiles(), str(tmp_path), put)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_there_is_deleted_and_what_is_not_is_no_error(tmp_path: Path) -> None:
    for name in "abc":
        put(f"{tmp_path}/{name}", b"")
    FolderFiles().delete([f"{tmp_path}/{name}" for name in ("a", "none", "c")])
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_of_two_who_race_one_wins(tmp_path: Path) -> None:
    check_races(FolderFiles(), str(tmp_path), put)


class Refused(Exception):  # noqa: N818 - as botocore has it
    """Stands for botocore's ClientError."""

    def __init__(self, status: int, retries: int = 0) -> None:
        super().__init__(status)
        self.response: dict[str, dict[str, Any]] = {
            "ResponseMetadata": {"HTTPStatusCode": status, "RetryAttempts": retries}
        }


class Client:
    """A store that says what it is told to, or that does not know the condition."""

    class exceptions:  # noqa: N801, D106 - as boto3 has it
        ClientError = Refused

    class meta:  # noqa: N801, D106 - as boto3 has it
        endpoint_url = "http://store"

    def __init__(self, refusal: Refused | None = None, *, knows: str = "") -> None:
        self.objects: dict[str, bytes] = {}
        self._refusal = refusal
        self._knows = knows

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if Key not in self.objects:
            raise Refused(404)
        content = self.objects[Key]

        class Body:
            read = staticmethod(lambda: content)

        return {"Body": Body, "ETag": content.hex()}

    def put_object(
        self,
        *,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Body: bytes,  # noqa: N803
        IfMatch: str | None = None,  # noqa: N803
        IfNoneMatch: str | None = None,  # noqa: N803
    ) -> None:
        if (IfMatch is not None or IfNoneMatch is not None) and self._refusal is not None:
            raise self._refusal
        there = self.objects.get(Key)
        if IfMatch is not None and (
            ("another" in self._knows and there is not None and there.hex() != IfMatch)
            or ("gone" in self._knows and there is None)
        ):
            raise Refused(412)
        if IfNoneMatch is not None and "there" in self._knows and there is not None:
            raise Refused(412)
        self.objects[Key] = Body

    def delete_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803
        self.objects.pop(Key, None)


def files_of(client: Client, monkeypatch: pytest.MonkeyPatch) -> S3Files:
    monkeypatch.setattr("udfs.stores.conditional_files.client_of", lambda _s3: client)
    return S3Files(S3Settings())


@pytest.mark.parametrize("status", [412, 409, 404])
def test_a_refusal_means_that_it_was_changed(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(Refused(status))
    client.objects["key"] = b"of somebody else"
    files = files_of(client, monkeypatch)
    assert not files.replace("bucket/key", b"mine", "tag")
    # An attempt whose answer was lost has put it, and the next one is refused by its own work.
    retried = files_of(Client(Refused(status, retries=1)), monkeypatch)
    assert not retried.replace("bucket/key", b"mine", "tag")
    client = Client(Refused(status, retries=1))
    client.objects["key"] = b"mine"
    assert files_of(client, monkeypatch).replace("bucket/key", b"mine", "tag")


def test_other_errors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(Client(Refused(403)), monkeypatch)
    with pytest.raises(Refused):
        files.replace("bucket/key", b"mine", "tag")


@pytest.mark.parametrize(
    ("knows", "said"),
    [
        ("", "refused over another: False"),
        ("another there", "over another: True; refused where it was deleted: False"),
        ("another gone", "put where nothing is: True; refused where something is: False"),
    ],
)
def test_a_store_that_does_not_know_the_condition_is_found_out(
    knows: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Google's does not, by its documentation, and as MinIO once put where a file had been deleted."""
    client = Client(knows=knows)
    with pytest.raises(ConditionalPutError, match=f"{said}.*use a store"):
        files_of(client, monkeypatch).ensure_conditional("s3://bucket/erasures")
    assert not client.objects
