"""Reads and writes the metadata files of one table: numbered versions, and the hint that says which is the newest.

Readers without a catalogue look for them at <table>/metadata/v1.metadata.json, v2.metadata.json and so on, and
version-hint.text, which has the number. Iceberg calls this layout a Hadoop table.
"""

import re
from collections.abc import Collection

import pyarrow.fs
from pyiceberg.exceptions import ValidationError
from pyiceberg.serializers import FromInputFile
from pyiceberg.table.metadata import TableMetadata

from tools.iceberg.store_io import StoreIO, path_of
from udfs.stores.conditional_files import ConditionalFiles
from udfs.stores.replaced_file import replace

# Old versions are kept for readers that have begun with them.
VERSIONS_KEPT = 4
# A file that no kept version names may belong to a run that is under way. It is deleted only when it is this old.
SWEPT_AFTER_S = 86_400.0
HINT = "version-hint.text"
_VERSION = re.compile(r"v(\d+)\.metadata\.json")


class TableError(ValueError):
    """A table cannot be written. The text says why and what to do."""


class TableFiles:
    """The metadata of the table at `url`. `files` are those of `store`."""

    def __init__(self, store: pyarrow.fs.FileSystem, files: ConditionalFiles, url: str) -> None:
        self.url = url
        self.io = StoreIO(store)
        self._store = store
        self._files = files
        self._folder = f"{path_of(url)}/metadata"

    def url_of(self, name: str) -> str:
        """The URL of a file of the metadata."""
        return f"{self.url}/metadata/{name}"

    def newest(self) -> int:
        """The number of the newest version; 0 before there is one."""
        return max((int(found[1]) for one in self._infos() if (found := _VERSION.fullmatch(one.base_name))), default=0)

    def read(self, version: int) -> TableMetadata:
        """Read a version. Raises TableError if it cannot be read."""
        url = self.url_of(f"v{version}.metadata.json")
        try:
            return FromInputFile.table_metadata(self.io.new_input(url))
        except (ValueError, ValidationError) as error:
            raise TableError(
                f"{url} is not the metadata of a table: {error}; run `python -m tools.iceberg --rebuild`"
            ) from error

    def put(self, version: int, metadata: TableMetadata) -> bool:
        """Write a version in one step. Returns False if another run has written a version of that number already."""
        content = metadata.model_dump_json(exclude_none=True).encode()
        return self._files.create(f"{self._folder}/v{version}.metadata.json", content)

    def point_at(self, version: int) -> None:
        """Write this version into the hint, unless the hint names it already."""
        if self._hint() != str(version):
            replace(self._store, f"{self._folder}/{HINT}", str(version).encode())

    def sweep(self, version: int, named: Collection[str], now_s: float) -> None:
        """Delete old files, except the kept versions up to this one, and the files at the URLs `named`."""
        kept = {url.rsplit("/", 1)[1] for url in named} | {HINT}
        kept |= {f"v{number}.metadata.json" for number in range(version - VERSIONS_KEPT + 1, version + 1)}
        infos = [info for info in self._infos() if info.base_name not in kept]
        self._files.delete([info.path for info in infos if info.mtime_ns / 1e9 < now_s - SWEPT_AFTER_S])

    def _hint(self) -> str | None:
        try:
            with self._store.open_input_stream(f"{self._folder}/{HINT}") as stream:
                return bytes(stream.read()).decode()
        except FileNotFoundError:
            return None

    def _infos(self) -> list[pyarrow.fs.FileInfo]:
        selector = pyarrow.fs.FileSelector(self._folder, allow_not_found=True)
        return [info for info in self._store.get_file_info(selector) if info.type is pyarrow.fs.FileType.File]
