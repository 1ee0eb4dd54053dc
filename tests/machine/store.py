"""The object store in memory: an object is there as a whole or not at all. Writes are steps, reads of manifests too."""

import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileType

from tests.machine.jobs import step


class Store:
    """As much of pyarrow's FileSystem as the product uses. `now_s` is the world's clock.

    `wrote(path, before)` is called once an object is there, or is others, or has gone; `before` is what it was.
    `is_told` says of a path whether reading it, or listing what is below it, is a step.
    """

    def __init__(
        self, now_s: Callable[[], float], wrote: Callable[[str, bytes | None], None], is_told: Callable[[str], bool]
    ) -> None:
        self.objects: dict[str, bytes] = {}
        self._written_s: dict[str, float] = {}
        self._now_s = now_s
        self._wrote = wrote
        self._is_told = is_told

    def put(self, path: str, content: bytes) -> None:
        """By whoever writes, a job or the world."""
        before = self.objects.get(path)
        self.objects[path] = content
        self._written_s[path] = self._now_s()
        self._wrote(path, before)

    def open_output_stream(self, path: str, *_arguments: object, **_named: object) -> "_Upload":
        return _Upload(self, path)

    def open_input_stream(self, path: str, *_arguments: object, **_named: object) -> Any:
        return pa.BufferReader(self._get(path))

    def open_input_file(self, path: str) -> Any:
        return pa.BufferReader(self._get(path))

    def move(self, src: str, dest: str) -> None:
        step(f"move to {dest}")
        if src not in self.objects:
            raise FileNotFoundError(src)
        self.put(dest, self.objects.pop(src))

    def delete_file(self, path: str) -> None:
        step(f"delete {path}")
        self.remove(path)

    def written_s(self, path: str) -> float:
        """When an object was last put."""
        return self._written_s[path]

    def remove(self, path: str) -> None:
        """By whoever deletes."""
        before = self.objects.pop(path, None)
        if before is None:
            raise FileNotFoundError(path)
        self._wrote(path, before)

    def delete_dir(self, path: str) -> None:
        """A step for each file, as where there are no folders."""
        for one in sorted(self.objects):
            if one.startswith(f"{path}/"):
                step(f"delete {one}")
                if one in self.objects:
                    self.remove(one)

    def create_dir(self, _path: str, **_named: object) -> None:
        """Object stores know no folders."""

    def get_file_info(self, of: str | FileSelector) -> Any:
        if isinstance(of, FileSelector):
            if self._is_told(of.base_dir):
                step(f"list {of.base_dir}", writes=False)
            return self._listed(of.base_dir, recursive=of.recursive)
        if self._is_told(of):
            step(f"look for {of}", writes=False)
        return self._info(of)

    def _listed(self, folder: str, *, recursive: bool) -> list[FileInfo]:
        found: dict[str, FileInfo] = {}
        for path in sorted(self.objects):
            if path.startswith(f"{folder}/"):
                rest = path.removeprefix(f"{folder}/")
                if recursive or "/" not in rest:
                    found[path] = self._info(path)
                else:
                    below = f"{folder}/{rest.split('/')[0]}"
                    found[below] = FileInfo(below, type=FileType.Directory)
        return list(found.values())

    def _info(self, path: str) -> FileInfo:
        content = self.objects.get(path)
        if content is None:
            is_folder = any(one.startswith(f"{path}/") for one in self.objects)
            return FileInfo(path, type=FileType.Directory if is_folder else FileType.NotFound)
        return FileInfo(path, type=FileType.File, size=len(content), mtime_ns=int(self._written_s[path] * 1e9))

    def _get(self, path: str) -> bytes:
        if self._is_told(path):
            step(f"read {path}", writes=False)
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path]


class Files:
    """Stands for udfs.stores.conditional_files.S3Files: puts and deletes are steps, and so are reads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, path: str) -> tuple[bytes, str]:
        """See ConditionalFiles."""
        step(f"read {path}", writes=False)
        content = self._store.objects.get(path)
        if content is None:
            raise FileNotFoundError(path)
        return content, _tag(content)

    def replace(self, path: str, content: bytes, tag: str) -> bool:
        """See ConditionalFiles."""
        step(f"put {path} if it is as it was")
        there = self._store.objects.get(path)
        if there is None or _tag(there) != tag:
            return False
        self._store.put(path, content)
        return True

    def create(self, path: str, content: bytes) -> bool:
        """See ConditionalFiles."""
        step(f"put {path} if nothing is there")
        if path in self._store.objects:
            return False
        self._store.put(path, content)
        return True

    def delete(self, paths: Sequence[str]) -> None:
        """See ConditionalFiles."""
        for path in paths:
            step(f"delete {path}")
            if path in self._store.objects:
                self._store.remove(path)


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Upload(io.BytesIO):
    """What is written appears when it is closed, which is a step."""

    def __init__(self, store: Store, path: str) -> None:
        super().__init__()
        self._store = store
        self._path = path

    def write(self, content: Any) -> int:
        return super().write(memoryview(content))

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is None:
            step(f"put {self._path}")
            self._store.put(self._path, self.getvalue())
