"""Answers as CSV: a header row, and a row for each thing that an answer lists. Pure.

Programs that show tables take a text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return for a formula, and
names come from strangers. So such a text has an apostrophe before it, and so has one that begins with an apostrophe:
whoever takes one apostrophe away has what was there.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
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

    A list within a row has a row for each of its structs, after the other fields of the row. Fields of the row that its
    structs have too are left out.
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
    found = _listed(next(one.type for one in _fields(kind) if one.name == rows))
    assert found is not None
    return found


@cache
def _parts(kind: type[Struct]) -> tuple[Mapping[str, str], str, type[Struct] | None]:
    """The fields of a row that are no lists, each with the name of its column; and a list of structs in it.

    Of the latter, the name, or "" for none, and the type of its structs.
    """
    plain: dict[str, str] = {}
    nested, of_nested = "", None
    for one in _fields(kind):
        listed = _listed(one.type)
        if listed is not None and of_nested is None:
            nested, of_nested = one.name, listed
        elif not _is_deep(one.type):
            plain[one.name] = one.encode_name
    if of_nested is not None:
        # A sum over a list has the name of what is summed. Each column has a name of its own.
        inner = _columns(of_nested, is_nested=True)
        plain = {name: column for name, column in plain.items() if column not in inner}
    return plain, nested, of_nested


def _fields(kind: type[Struct]) -> Sequence[msgspec.inspect.Field]:
    found = type_info(kind)
    assert isinstance(found, StructType)
    return found.fields


def _listed(found: Any) -> type[Struct] | None:
    """The struct of which this is a list; None if it is something else."""
    if isinstance(found, msgspec.inspect.Metadata):
        return _listed(found.type)
    is_list = isinstance(found, ListType) and isinstance(found.item_type, StructType)
    return found.item_type.cls if is_list else None


def _is_deep(found: Any) -> bool:
    """Whether this has a list or a struct in it."""
    if isinstance(found, msgspec.inspect.Metadata):
        return _is_deep(found.type)
    return isinstance(found, StructType | ListType) or any(map(_is_deep, getattr(found, "types", ())))


def _columns(kind: type[Struct], *, is_nested: bool) -> tuple[str, ...]:
    plain, _, of_nested = _parts(kind)
    inner = () if of_nested is None or not is_nested else _columns(of_nested, is_nested=True)
    return (*plain.values(), *inner)


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
