"""How a badge looks."""

from collections.abc import Iterable, Mapping

from services.parameters import ParameterError
from services.query.api.badge import COLORS, DEFAULT_COLOR, DEFAULT_LABEL, LABELS


def read_look(query: Mapping[str, str]) -> tuple[str, str]:
    """The label and the colour that are asked for, each a name of its list."""
    return _one_of(query, "label", LABELS, DEFAULT_LABEL), _one_of(query, "color", COLORS, DEFAULT_COLOR)


def _one_of(query: Mapping[str, str], field: str, names: Iterable[str], default: str) -> str:
    found = query.get(field, default)
    if found not in names:
        raise ParameterError(field, found, f"must be one of {', '.join(names)}")
    return found
