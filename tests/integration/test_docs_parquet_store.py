"""What docs/parquet.md says of polars, pyarrow and pandas is so for files in an object store."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_docs_parquet import IN_PYTHON, blocks, is_connection, make_history, python_answers
from tools.stack import Stack
from tools.stack.machine.ports import DEFAULT_PORTS
from tools.stack.object_store import s3_settings
from udfs.stores.archive import filesystem


@pytest.mark.nightly
def test_polars_pyarrow_and_pandas_answer_from_the_store(shared_stack: Stack, tmp_path: Path) -> None:
    root, seen = make_history(tmp_path)
    endpoint = shared_stack.endpoints["s3"]
    (connection,) = (block for block in blocks("polars", "python") if is_connection(block))
    names: dict[str, Any] = {}
    exec(connection.replace(f"http://127.0.0.1:{DEFAULT_PORTS['s3']}", endpoint), names)
    store = filesystem(s3_settings(shared_stack))
    for file in (path for path in root.rglob("*") if path.is_file() and "slices" not in path.parts):
        with store.open_output_stream(f"{names['root']}/{file.relative_to(root)}") as stream:
            stream.write(file.read_bytes())
    assert python_answers(names) == [answer(seen) for answer in IN_PYTHON]
