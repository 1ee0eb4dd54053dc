"""Draws charts as Mermaid text for pages of docs. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np


def chart(title: str, x_name: str, points: Sequence[tuple[str, Mapping[str, float]]], figure: str, unit: str) -> str:
    """A line chart of one figure of each point. The names of the points are on the x axis."""
    values = [one[figure] for _, one in points]
    names = ", ".join(f'"{x}"' for x, _ in points)
    return (
        f'```mermaid\nxychart-beta\n    title "{title}"\n    x-axis "{x_name}" [{names}]\n'
        f'    y-axis "{unit}" 0 --> {_plain(float(f"{max(values) * 1.2:.3g}"))}\n'
        f"    line [{', '.join(_plain(value) for value in values)}]\n```\n"
    )


def _plain(value: float) -> str:
    """A number without an exponent, which Mermaid cannot read."""
    return np.format_float_positional(value, trim="-")
