"""Savepoints that upgrades have left: which may go, and by which command.

Nothing is removed here: whether somebody wants to go back that far is for a person to say.
"""

from collections.abc import Iterable

from pyarrow.fs import FileSelector

from settings import S3Settings
from udfs.stores.archive import filesystem


def older_than(newest: str, s3: S3Settings) -> list[str]:
    """Paths of the savepoints beside this one that were written before it, the oldest first. Raises OSError."""
    scheme, _, path = newest.partition("://")
    folder, _, name = path.rstrip("/").rpartition("/")
    # A folder has no time in an object store; what is written last into it has.
    metadata = filesystem(s3).get_file_info(FileSelector(folder, recursive=True))
    written = {info.path.split("/")[-2]: info.mtime_ns for info in metadata if info.path.endswith("/_metadata")}
    if name not in written:
        return []
    older = [(at, one) for one, at in written.items() if at < written[name]]
    return [f"{scheme}://{folder}/{one}" for _, one in sorted(older)]


def disposal(savepoints: Iterable[str]) -> Iterable[str]:
    """What to tell of savepoints that may go; nothing where there are none."""
    found = list(savepoints)
    if found:
        yield f"{len(found)} older savepoints are left, which may go unless you want to go back that far:"
    for one in found:
        yield f"bin/vc flink savepoint --dispose {one}"
