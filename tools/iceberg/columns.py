"""Derives the columns of a table from its Parquet files, and describes such a file for Iceberg.

Iceberg identifies columns by ids, which the files do not have. So the table's name mapping gives the ids by name. The
day viewed is in no file, but in the name of its folder. Iceberg takes it from the file's partition.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import TableProperties
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import (
    BinaryType,
    DateType,
    FixedType,
    IntegerType,
    LongType,
    NestedField,
    PrimitiveType,
    StringType,
    TimestamptzType,
)

from tools.iceberg.store_io import path_of
from tools.iceberg.table_files import TableError
from udfs.logic.history.manifest import day_number

DAY = "viewed_day"
_DAY_FOLDER = re.compile(rf"/{DAY}=(\d{{4}}-\d\d-\d\d)/")
# The first id that Iceberg gives to fields of partitions.
_DAY_FIELD_ID = 1000
_TYPES: Mapping[pa.DataType, PrimitiveType] = {
    pa.string(): StringType(),
    pa.int32(): IntegerType(),
    pa.int64(): LongType(),
    pa.binary(): BinaryType(),
    pa.timestamp("ms", "UTC"): TimestamptzType(),
}


class Footer(NamedTuple):
    """A Parquet file: its URL, its length in bytes, and the metadata in its footer."""

    url: str
    size: int
    metadata: pq.FileMetaData

    @property
    def fields(self) -> dict[str, PrimitiveType]:
        """The type of each column, by name. Raises TableError if Iceberg has none for it here."""
        return {field.name: _type_of(self.url, field) for field in self.metadata.schema.to_arrow_schema()}


def read_footer(store: pyarrow.fs.FileSystem, url: str) -> Footer:
    """Read the footer of a file. Raises FileNotFoundError."""
    with store.open_input_file(path_of(url)) as file:
        return Footer(url, file.size(), pq.read_metadata(file))


def day_of_url(url: str) -> date | None:
    """The day viewed in the name of a file's folder; None for a file of all time."""
    found = _DAY_FOLDER.search(url)
    return None if found is None else date.fromisoformat(found[1])


def schema_of(before: Schema | None, footers: Iterable[Footer]) -> Schema:
    """The columns of all of these files and of the schema before. Columns keep their ids.

    Raises TableError if files have different types of a column.
    """
    fields = {} if before is None else {field.name: field for field in before.fields}
    number = max((field.field_id for field in fields.values()), default=0)
    for footer in footers:
        days = {DAY: DateType()} if day_of_url(footer.url) else {}
        for name, column_type in (footer.fields | days).items():
            if name not in fields:
                number += 1
                fields[name] = NestedField(number, name, column_type, required=False)
            elif fields[name].field_type != column_type:
                raise TableError(
                    f"column {name} of {footer.url} is {column_type}, in other files it is {fields[name].field_type}: "
                    "one table cannot have both; count again from the archive, to another path (docs/rebuild.md)"
                )
    return Schema(*fields.values(), schema_id=0 if before is None else before.schema_id)


def spec_of(schema: Schema) -> PartitionSpec:
    """The partitioning of a table with these columns: by day viewed, or none."""
    if DAY not in schema.column_names:
        return UNPARTITIONED_PARTITION_SPEC
    return PartitionSpec(PartitionField(schema.find_field(DAY).field_id, _DAY_FIELD_ID, IdentityTransform(), DAY))


def properties_of(schema: Schema) -> dict[str, str]:
    """The properties of a table with these columns: their names in files, how to read them, which have no bounds."""
    properties = {TableProperties.DEFAULT_NAME_MAPPING: schema.name_mapping.model_dump_json()}
    for field in schema.fields:
        # A viewer's hash must not stay in metadata after an erasure, and the bounds of a sketch have no meaning.
        if isinstance(field.field_type, BinaryType | FixedType):
            properties[f"{TableProperties.METRICS_MODE_COLUMN_CONF_PREFIX}.{field.name}"] = "counts"
        # Times in the files are in milliseconds. If they are in a dictionary, Spark's vectorized reader takes them for
        # microseconds (apache/iceberg issue 17135).
        if isinstance(field.field_type, TimestamptzType):
            properties["read.parquet.vectorization.enabled"] = "false"
    return properties


def data_file(metadata: TableMetadata, footer: Footer) -> DataFile:
    """The entry of a file in a table's metadata."""
    schema = metadata.schema()
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=footer.metadata,
        stats_columns=compute_statistics_plan(schema, metadata.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    day = day_of_url(footer.url)
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=footer.url,
        file_format=FileFormat.PARQUET,
        partition=Record() if day is None else Record(day_number(day)),
        file_size_in_bytes=footer.size,
        sort_order_id=None,
        spec_id=metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def _type_of(url: str, field: pa.Field) -> PrimitiveType:
    if pa.types.is_fixed_size_binary(field.type):
        return FixedType(field.type.byte_width)
    found = _TYPES.get(field.type)
    if found is None:
        raise TableError(
            f"column {field.name} of {url} is {field.type}, which has no type of Iceberg here: add it to _TYPES"
        )
    return found
