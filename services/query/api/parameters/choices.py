"""Parameters that are one of some names, or a whole number within bounds."""

from collections.abc import Iterable, Mapping

from schemas.values import ValueFormError, whole_number
from services.parameters import ParameterError


def one_of(query: Mapping[str, str], field: str, names: Iterable[str], default: str = "") -> str:
    """The name that `field` asks for. Raises ParameterError if it is none of `names`."""
    found = query.get(field, default)
    if found not in names:
        raise ParameterError(field, found, f"must be one of {', '.join(names)}")
    return found


def number(query: Mapping[str, str], field: str, most: int, default: int) -> int:
    """The whole number that `field` asks for, which is 1 to `most`. Raises ParameterError."""
    return _within(field, query[field], most) if field in query else default


def number_or_none(query: Mapping[str, str], field: str, most: int) -> int | None:
    """The same; None where it is not given."""
    return _within(field, query[field], most) if field in query else None


def _within(field: str, text: str, most: int) -> int:
    try:
        found = whole_number(text)
    except ValueFormError as error:
        raise ParameterError(field, text, str(error)) from error
    if not 1 <= found <= most:
        raise ParameterError(field, text, f"must be 1 to {most}")
    return found
