"""Updates the tables to the manifest in force.

Each table changes in one step: the snapshot that adds new files also removes those that the manifest no longer names.
If a run is killed, each table is either unchanged or up to date, and the next run continues. No data file is written,
moved or deleted.
"""

import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyarrow.fs
from pyiceberg.table import TableProperties
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.table.update import (
    AddSchemaUpdate,
    SetCurrentSchemaUpdate,
    SetPropertiesUpdate,
    TableUpdate,
    update_table_metadata,
)

from tools.iceberg.columns import Footer, data_file, properties_of, read_footer, schema_of, spec_of
from tools.iceberg.snapshots import Live, live_files, next_snapshot, urls_named
from tools.iceberg.store_io import path_of, url_of
from tools.iceberg.table_files import VERSIONS_KEPT, TableError, TableFiles
from udfs.logic.history.manifest import Manifest
from udfs.stores.conditional_files import ConditionalFiles

# The folder of the tables in the path of history.
FOLDER = "iceberg"
# The properties of a table that say which manifest it follows: the manifest's token, and until when it is complete.
REVISION = "view-counts.revision"
COMPLETE_THROUGH = "view-counts.complete-through"
# The only data set whose files an erasure rewrites under the same names.
REWRITTEN = "suspects"
# Threads that read footers. They mostly wait for the store.
READERS = 16
# A run begins again when a newer manifest is published, or when files that it needs are deleted.
ATTEMPTS = 5
# The properties of every table.
_FIXED = {
    # Maintenance by other programs would delete data files that this product still needs.
    "gc.enabled": "false",
    TableProperties.METADATA_PREVIOUS_VERSIONS_MAX: str(VERSIONS_KEPT),
}


@dataclass(frozen=True)
class Stores:
    """The store of history. `files` replaces files of `store`."""

    store: pyarrow.fs.FileSystem
    files: ConditionalFiles


@dataclass(frozen=True)
class Told:
    """A change of a table: how many files were added and removed, and the number of the new version."""

    data_set: str
    added: int
    removed: int
    version: int


class _OvertakenError(Exception):
    """There is a newer manifest in the meantime, or another run has written a version."""


def publish_tables(
    stores: Stores,
    path: str,
    in_force: Callable[[], Manifest],
    *,
    rebuild: bool = False,
    clock: Callable[[], float] = time.time,
) -> list[Told]:
    """Give every table the files of the manifest in force. Returns the tables that have changed.

    `path` is that of history, `in_force` reads the manifest in force, `clock` is in seconds since 1970. With `rebuild`
    each table is made again from the manifest alone. Raises TableError and errors of the stores.
    """
    told: dict[str, Told] = {}
    for _ in range(ATTEMPTS):
        manifest = in_force()
        try:
            for data_set, by_time in manifest.files.items():
                urls = {f"{url_of(path)}/{file}" for of in by_time.values() for file in of.values()}
                table = TableFiles(stores.store, stores.files, f"{url_of(path)}/{FOLDER}/{data_set}")
                # A table that this rebuild has made in an earlier attempt is updated like any other.
                anew = rebuild and data_set not in told
                changed = _Table(stores.store, table, data_set, manifest).bring(urls, anew=anew, now_s=clock())
                if changed is not None:
                    told[data_set] = changed
        except (_OvertakenError, FileNotFoundError) as error:
            overtaken_by: Exception = error
        else:
            return list(told.values())
    raise TableError(
        f"the tables at {path}/{FOLDER} changed during {ATTEMPTS} attempts ({overtaken_by}): run this after the "
        "rollup, one run at a time; if Parquet is missing, `python -m tools.ops history verify` says which; if a file "
        "of the tables' metadata is missing, `python -m tools.iceberg --rebuild` writes it again"
    )


@dataclass(frozen=True)
class _Table:
    store: pyarrow.fs.FileSystem
    table: TableFiles
    data_set: str
    manifest: Manifest

    def bring(self, urls: set[str], *, anew: bool, now_s: float) -> Told | None:
        """Give the table these files; None if it has them already."""
        version = self.table.newest()
        if not version and not urls:
            return None
        # If the table is to have no files, only its present metadata says which columns it has.
        metadata = None if not version or (anew and urls) else self.table.read(version)
        if metadata is not None and int(metadata.properties.get(REVISION, 0)) > self.manifest.token:
            raise _OvertakenError(
                f"{self.table.url} follows a newer manifest than that of revision {self.manifest.token}"
            )
        before = [] if metadata is None else live_files(self.table, metadata)
        sizes = self._sizes()
        removed = [one for one in before if one.url not in urls or self._is_rewritten(one, sizes)]
        kept = {one.url for one in before} - {one.url for one in removed}
        footers = self._footers(urls - kept)
        made = self._made(version, metadata, before, footers, removed)
        if made is None:
            # An earlier run may have been killed before it wrote the hint.
            self.table.point_at(version)
            return None
        if not self.table.put(version + 1, made):
            raise _OvertakenError(f"another run has written version {version + 1} of {self.table.url}")
        self.table.point_at(version + 1)
        self.table.sweep(version + 1, urls_named(self.table, made), now_s)
        return Told(self.data_set, len(footers), len(removed), version + 1)

    def _made(
        self,
        version: int,
        metadata: TableMetadata | None,
        before: list[Live],
        footers: list[Footer],
        removed: list[Live],
    ) -> TableMetadata | None:
        """The next metadata of the table; None if nothing has changed."""
        schema = schema_of(None if metadata is None else metadata.schema(), footers)
        properties = {
            **properties_of(schema),
            **_FIXED,
            REVISION: str(self.manifest.token),
            COMPLETE_THROUGH: self.manifest.complete_through.isoformat(),
        }
        url = None
        if metadata is None:
            # The id depends only on the URL, so readers recognise a table that was made again.
            table_uuid = uuid.uuid5(uuid.NAMESPACE_URL, self.table.url)
            metadata = new_table_metadata(
                schema, spec_of(schema), UNSORTED_SORT_ORDER, self.table.url, dict(properties), table_uuid
            )
        else:
            url = self.table.url_of(f"v{version}.metadata.json")
        updates: list[TableUpdate] = []
        if {field.name for field in schema.fields} != set(metadata.schema().column_names):
            schema_id = max(one.schema_id for one in metadata.schemas) + 1
            updates += [
                AddSchemaUpdate(schema_=schema.model_copy(update={"schema_id": schema_id})),
                SetCurrentSchemaUpdate(schema_id=-1),
            ]
        if properties.items() - metadata.properties.items():
            updates.append(SetPropertiesUpdate(updates=properties))
        changed = update_table_metadata(metadata, tuple(updates), metadata_location=url)
        if footers or removed:
            added = [data_file(changed, footer) for footer in footers]
            snapshot = next_snapshot(self.table, changed, before, added, removed)
            changed = update_table_metadata(metadata, (*updates, *snapshot), metadata_location=url)
        return changed if updates or footers or removed else None

    def _sizes(self) -> dict[str, int]:
        """The length of each file that may have been rewritten, by URL."""
        if self.data_set != REWRITTEN:
            return {}
        scheme = self.table.url.partition("://")[0]
        folder = f"{path_of(self.table.url).removesuffix(f'/{FOLDER}/{self.data_set}')}/{self.data_set}"
        selector = pyarrow.fs.FileSelector(folder, recursive=True, allow_not_found=True)
        return {f"{scheme}://{info.path}": info.size for info in self.store.get_file_info(selector)}

    def _is_rewritten(self, one: Live, sizes: dict[str, int]) -> bool:
        """Whether a file was rewritten since the table's entry of it was made."""
        return self.data_set == REWRITTEN and sizes.get(one.url) != one.entry.data_file.file_size_in_bytes

    def _footers(self, urls: Iterable[str]) -> list[Footer]:
        # The newest come first, because a new table takes the order of its columns from the first file.
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(partial(read_footer, self.store), sorted(urls, reverse=True)))
