"""The list of erasures in the object store: a file for each viewer, named by the viewer's hash."""

import msgspec
import pyarrow.fs

from udfs.logic.erasure import VERSION, Erasure
from udfs.sinks.replaced_file import replace


class ErasureListError(ValueError):
    """What is stored is of another version; the text says what to do."""


class ErasureList:
    """The files below `path`, an s3:// URL, in a store."""

    def __init__(self, store: pyarrow.fs.FileSystem, path: str) -> None:
        self._store = store
        self._root = path.removeprefix("s3://")

    def get(self, viewer: str) -> Erasure | None:
        """Of one viewer, by hash in hex."""
        path = f"{self._root}/{viewer}.json"
        is_there = self._store.get_file_info(path).type is pyarrow.fs.FileType.File
        return self._read(path) if is_there else None

    def open(self) -> list[Erasure]:
        """Those for which events may still come."""
        return [one for one in self.all() if one.is_open]

    def all(self) -> list[Erasure]:
        """Every one that there ever was."""
        selector = pyarrow.fs.FileSelector(self._root, allow_not_found=True)
        files = (info.path for info in self._store.get_file_info(selector) if info.base_name.endswith(".json"))
        return [self._read(path) for path in sorted(files)]

    def put(self, erasure: Erasure) -> None:
        """In place of what there was of this viewer."""
        replace(self._store, f"{self._root}/{erasure.viewer}.json", msgspec.json.encode(erasure))

    def _read(self, path: str) -> Erasure:
        with self._store.open_input_stream(path) as stream:
            found = msgspec.json.decode(stream.read(), type=Erasure)
        if found.version != VERSION:
            raise ErasureListError(f"{path} is of version {found.version}, this code reads {VERSION}: use newer code")
        return found
