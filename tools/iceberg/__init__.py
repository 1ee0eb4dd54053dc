"""Iceberg tables of history: metadata beside the Parquet, derived from the manifest in force.

Nothing of the product reads them, and no rollup waits for them: they are for Spark, Trino, DuckDB and whatever else
reads Iceberg. Only this package knows pyiceberg.
"""

from tools.iceberg.publishing import Stores, Told, publish_tables
from tools.iceberg.table_files import TableError

__all__ = ["Stores", "TableError", "Told", "publish_tables"]
