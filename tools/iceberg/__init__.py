"""Iceberg tables of history: metadata for the Parquet files, derived from the manifest in force.

They are for Spark, Trino, DuckDB and other readers of Iceberg. The product itself never reads them, and no rollup waits
for them. Only this package imports pyiceberg.
"""

from tools.iceberg.publishing import Stores, Told, publish_tables
from tools.iceberg.table_files import TableError

__all__ = ["Stores", "TableError", "Told", "publish_tables"]
