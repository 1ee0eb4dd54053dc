"""Replaces a file of the object store, so that readers always get either the old or the new file, complete."""

import contextlib
import secrets

import pyarrow as pa
import pyarrow.fs


def replace(store: pyarrow.fs.FileSystem, path: str, content: bytes | pa.Buffer) -> None:
    """Write the file, or replace it. If the process is killed meanwhile, the old file stays complete.

    A stream that ends half-way may leave a partial object. So the content is first written under a hidden name, which
    readers ignore, and then moved, which a store does atomically. Each call uses a random name, so that of two calls at
    the same time neither moves the other's content, and the later one stays.
    """
    folder, name = path.rsplit("/", 1)
    beside = f"{folder}/.{name}.{secrets.token_hex(4)}.new"
    # In an object store, this would make an object in place of the folder.
    if isinstance(store, pyarrow.fs.LocalFileSystem):
        store.create_dir(folder, recursive=True)
    try:
        with store.open_output_stream(beside) as stream:
            stream.write(content)
        store.move(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            store.delete_file(beside)
        raise
