"""Lists savepoints that earlier upgrades have left, and the commands that remove them.

It removes nothing itself, because only an operator knows whether somebody may want to go back to one of them.
"""

from collections.abc import Iterable

from pyarrow.fs import FileSelector

from settings import S3Settings
from udfs.stores.archive import filesystem


def older_than(newest: str, s3: S3Settings) -> list[str]:
    """The savepoints in the folder of `newest` that were written before it, the oldest first. Raises OSError."""
    scheme, _, path = newest.partition("://")
    folder, _, name = path.rstrip("/").rpartition("/")
    # A folder in an object store has no time, so the time of the file is used that Flink writes last.
    metadata = filesystem(s3).get_file_info(FileSelector(folder, recursive=True))
    written = {info.path.split("/")[-2]: info.mtime_ns for info in metadata if info.path.endswith("/_metadata")}
    if name not in written:
        return []
    older = [(at, one) for one, at in written.items() if at < written[name]]
    return [f"{scheme}://{folder}/{one}" for _, one in sorted(older)]


def disposal(savepoints: Iterable[str]) -> Iterable[str]:
    """Lines for an operator with the commands that remove these savepoints; no line if there are none."""
    found = list(savepoints)
    if found:
        yield f"{len(found)} older savepoints are left; remove them unless you may want to go back to one of them:"
    for one in found:
        yield f"bin/vc flink savepoint --dispose {one}"
