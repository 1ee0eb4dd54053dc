"""Pyiceberg's input and output on the product's own object store."""

import pyarrow.fs
from pyiceberg.io import FileIO, InputFile, OutputFile
from pyiceberg.io.pyarrow import PyArrowFile


def url_of(path: str) -> str:
    """The URL of a path. An s3:// URL stays as it is; a folder of this machine becomes a file:// URL."""
    return path if "://" in path else f"file://{path}"


def path_of(url: str) -> str:
    """The path that a pyarrow file system has for a URL: bucket and key, or a path of this machine."""
    return url.partition("://")[2]


class StoreIO(FileIO):
    """Reads and writes URLs of one store. Safe to use from many threads. Raises OSError and FileNotFoundError."""

    def __init__(self, store: pyarrow.fs.FileSystem) -> None:
        super().__init__()
        self._store = store

    def new_input(self, location: str) -> InputFile:
        """Access to a file for reading."""
        return PyArrowFile(location, path_of(location), self._store)

    def new_output(self, location: str) -> OutputFile:
        """Access to a file for writing."""
        path = path_of(location)
        # Object stores have no folders; creating one would leave an object.
        if isinstance(self._store, pyarrow.fs.LocalFileSystem):
            self._store.create_dir(path.rsplit("/", 1)[0], recursive=True)
        return PyArrowFile(location, path, self._store)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Delete a file."""
        url = location if isinstance(location, str) else location.location
        self._store.delete_file(path_of(url))
