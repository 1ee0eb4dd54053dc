"""How a badge looks."""

from collections.abc import Mapping

from services.query.api.badge import COLORS, DEFAULT_COLOR, DEFAULT_LABEL, LABELS
from services.query.api.parameters.choices import one_of


def read_look(query: Mapping[str, str]) -> tuple[str, str]:
    """The label and the colour that are asked for, each a name of its list."""
    return one_of(query, "label", LABELS, DEFAULT_LABEL), one_of(query, "color", COLORS, DEFAULT_COLOR)
