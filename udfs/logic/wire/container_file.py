"""Replaces some rows of an Avro container file (Avro 1.12 specification, "Object Container Files").

Everything else stays as it was, byte for byte: header, codec, marker, and every block in which no row changes.
"""

import io
from collections.abc import Callable
from typing import Any

import fastavro

Row = dict[str, Any]
_MARKER_BYTES = 16
# With this interval the writer puts all rows into one block.
_NO_INTERVAL = (1 << 62) - 1


def replaced(content: bytes, change: Callable[[Row], Row | None]) -> bytes | None:
    """Call `change` for each row, in order, and return the file with the rows that it gives.

    `change` returns None for a row that stays. If all rows stay, the result is None. Raises what fastavro raises if
    `content` is not such a file.
    """
    blocks = fastavro.block_reader(io.BytesIO(content))
    schema = fastavro.parse_schema(blocks.writer_schema)
    made: list[bytes] = []
    is_changed = False
    marker = b""
    for block in blocks:
        if not made:
            made.append(content[: block.offset])
            marker = content[block.offset - _MARKER_BYTES : block.offset]
        rows: list[Row] = list(block)  # type: ignore[arg-type]
        changed = [change(row) for row in rows]
        if all(one is None for one in changed):
            made.append(content[block.offset : block.offset + block.size])
            continue
        is_changed = True
        new = [row if one is None else one for row, one in zip(rows, changed, strict=True)]
        made.append(_block(schema, new, blocks.codec, marker))
    return b"".join(made) if is_changed else None


def _block(schema: Any, rows: list[Row], codec: str, marker: bytes) -> bytes:
    """Return the one block of these rows, without the file's header."""
    whole = io.BytesIO()
    fastavro.writer(whole, schema, rows, codec=codec, sync_marker=marker, sync_interval=_NO_INTERVAL)
    content = whole.getvalue()
    return content[next(iter(fastavro.block_reader(io.BytesIO(content)))).offset :]
