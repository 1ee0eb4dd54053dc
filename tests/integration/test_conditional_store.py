"""The object store that is tested with does what If-Match says, also when two write at once; and what is uploaded in part."""

from collections.abc import Iterator

import pytest

from settings import S3Settings
from tests.support.conditional import check_files, check_races
from tools.stack import Stack
from tools.stack.files import S3_ACCESS_KEY, S3_BUCKET, S3_SECRET_KEY
from udfs.sinks.conditional_files import S3Files, client_of
from udfs.sources.archive import filesystem

ROOT = "conditional"


@pytest.fixture
def s3(shared_stack: Stack) -> Iterator[S3Settings]:
    yield S3Settings(endpoint=shared_stack.endpoints["s3"], access_key=S3_ACCESS_KEY, secret_key=S3_SECRET_KEY)


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
    assert tag.strip('"').endswith("-2") or "-" in tag
    assert files.replace(path, b"new", tag)
    assert not files.replace(path, b"newer", tag)
    assert files.read(path)[0] == b"new"
