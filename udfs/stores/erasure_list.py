"""The list of erasures in the object store: one file for each viewer, named by the viewer's hash."""

from collections.abc import Callable

import msgspec
import pyarrow.fs

from udfs.logic.erasure.erasures import VERSION, Erasure
from udfs.stores.conditional_files import ConditionalFiles

# A change is tried so often when others change the same file.
_ATTEMPTS = 100


class ErasureListError(ValueError):
    """A file is of another version, or others kept changing it. The text says what to do."""


class ErasureList:
    """The files below `path`, an s3:// URL, in a store."""

    def __init__(self, store: pyarrow.fs.FileSystem, path: str) -> None:
        self._store = store
        self._root = path.removeprefix("s3://")

    def get(self, viewer: str) -> Erasure | None:
        """Read the erasure of one viewer, by the hash in hex. None if there is none."""
        path = f"{self._root}/{viewer}.json"
        is_there = self._store.get_file_info(path).type is pyarrow.fs.FileType.File
        return self._read(path) if is_there else None

    def open(self) -> list[Erasure]:
        """Return the open erasures."""
        return [one for one in self.all() if one.is_open]

    def all(self) -> list[Erasure]:
        """Return all erasures, open and closed."""
        selector = pyarrow.fs.FileSelector(self._root, allow_not_found=True)
        files = (info.path for info in self._store.get_file_info(selector) if info.base_name.endswith(".json"))
        return [self._read(path) for path in sorted(files)]

    def change(self, files: ConditionalFiles, viewer: str, to: Callable[[Erasure | None], Erasure]) -> Erasure:
        """Store what `to` makes of a viewer's erasure, and return it.

        If somebody else changes it at the same time, `to` is called again with their result, so that a viewer never has
        two keys. Raises ErasureListError if that happens too often.
        """
        path = f"{self._root}/{viewer}.json"
        for _ in range(_ATTEMPTS):
            try:
                content, tag = files.read(path)
            except FileNotFoundError:
                changed = to(None)
                is_stored = files.create(path, msgspec.json.encode(changed))
            else:
                changed = to(_erasure(path, content))
                is_stored = files.replace(path, msgspec.json.encode(changed), tag)
            if is_stored:
                return changed
        raise ErasureListError(
            f"{path} was changed by others {_ATTEMPTS} times in a row: find out who changes it, and try again"
        )

    def _read(self, path: str) -> Erasure:
        with self._store.open_input_stream(path) as stream:
            return _erasure(path, stream.read())


def _erasure(path: str, content: bytes) -> Erasure:
    found = msgspec.json.decode(content, type=Erasure)
    if found.version != VERSION:
        raise ErasureListError(f"{path} is of version {found.version}, this code reads {VERSION}: use newer code")
    return found
