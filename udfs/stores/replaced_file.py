"""A file of the object store in place of itself: whoever reads it reads the one or the other, whole."""

import contextlib
import secrets

import pyarrow as pa
import pyarrow.fs


def replace(store: pyarrow.fs.FileSystem, path: str, content: bytes | pa.Buffer) -> None:
    """Put this in the place of a file, if there is one. Killed anywhere, the file that there was is whole.

    A stream that is given up half-way may leave what it has as the object, so that it is written beside, under a hidden
    name that no reader looks at, and then moved, which a store does at once. Each call has a name of its own: of two at
    once neither moves what the other has written, and the later one stays.
    """
    folder, name = path.rsplit("/", 1)
    beside = f"{folder}/.{name}.{secrets.token_hex(4)}.new"
    # Object stores know no folders, and would keep an object in place of one.
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
