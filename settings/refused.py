"""Turns pydantic's errors about settings into lines that an operator can act on."""

from collections.abc import Mapping

from pydantic import ValidationError


def refused_settings(error: ValidationError) -> list[str]:
    """One line for each setting that is refused, with the variable, its value and the rule."""
    lines = []
    for found in error.errors():
        place = [str(part) for part in found["loc"]]
        rule = found["msg"].removeprefix("Value error, ")
        # A rule over several fields gets all of them as its input, and names those that are wrong in its text.
        one_field = not isinstance(found["input"], Mapping)
        name = "_".join(("VIEW_COUNTS", *place)).upper()
        lines.append(f"refused: {name}={found['input']}: {rule}" if one_field else f"refused: {rule}")
    return lines
