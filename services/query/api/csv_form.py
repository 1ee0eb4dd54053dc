"""Answers as CSV: a header row, and a row for each thing that an answer lists. Pure.

Programs that show tables take a text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return for a formula, and
names come from strangers. So such a text has an apostrophe before it, and so has one that begins with an apostrophe:
whoever takes one apostrophe away has what was there.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import UNSET, Struct
from msgspec.inspect import ListType, StructType, type_info

from services.openapi import CSV

CSV_TYPE = f"{CSV}; charset=utf-8; header=present"
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "'")


def csv_bytes(answer: Struct, rows: str) -> bytes:
    """The answer in CSV: the structs of its list `rows`, or, if that is "", its own fields that are no lists.

    A list within a row has a row for each of its structs, after the other fields of the row.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    kind = type(answer)
    row_kind = _row_kind(kind, rows) if rows else kind
    writer.writerow(_columns(row_kind, is_nested=bool(rows)))
    for one in getattr(answer, rows) if rows else (answer,):
        writer.writerows(_rows(one, is_nested=bool(rows)))
    return out.getvalue().encode()


@cache
def _row_kind(kind: type[Struct], rows: str) -> type[Struct]:
    found = next(one.type for one in _fields(kind) if one.name == rows)
    assert isinstance(found, ListType)
    assert isinstance(found.item_type, StructType)
    return found.item_type.cls


@cache
def _parts(kind: type[Struct]) -> tuple[tuple[str, ...], str, type[Struct] | None]:
    """The fields of a row that are no lists; the one that is a list of structs, or ""; and the type of these."""
    plain: list[str] = []
    nested, of_nested = "", None
    for one in _fields(kind):
        if isinstance(one.type, ListType):
            if isinstance(one.type.item_type, StructType) and not nested:
                nested, of_nested = one.name, one.type.item_type.cls
        elif not _has_struct(one.type):
            plain.append(one.name)
    return tuple(plain), nested, of_nested


def _fields(kind: type[Struct]) -> Sequence[msgspec.inspect.Field]:
    found = type_info(kind)
    assert isinstance(found, StructType)
    return found.fields


def _has_struct(found: Any) -> bool:
    if isinstance(found, msgspec.inspect.Metadata):
        return _has_struct(found.type)
    return isinstance(found, StructType) or any(map(_has_struct, getattr(found, "types", ())))


def _columns(kind: type[Struct], *, is_nested: bool) -> tuple[str, ...]:
    plain, _, of_nested = _parts(kind)
    return plain if of_nested is None or not is_nested else (*plain, *_columns(of_nested, is_nested=True))


def _rows(one: Struct, *, is_nested: bool) -> Iterator[list[object]]:
    plain, nested, of_nested = _parts(type(one))
    own = [_cell(getattr(one, name)) for name in plain]
    if of_nested is None or not is_nested:
        yield own
        return
    for inner in getattr(one, nested):
        for rest in _rows(inner, is_nested=True):
            yield own + rest


def _cell(value: object) -> object:
    if value is None or value is UNSET:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_DANGEROUS) else value
    return value
