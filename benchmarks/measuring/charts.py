"""Charts as Mermaid text, which a page of docs shows. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np


def chart(title: str, x_name: str, points: Sequence[tuple[str, Mapping[str, float]]], figure: str, unit: str) -> str:
    """A line through one figure of each point, over the points' names."""
    values = [one[figure] for _, one in points]
    names = ", ".join(f'"{x}"' for x, _ in points)
    return (
        f'```mermaid\nxychart-beta\n    title "{title}"\n    x-axis "{x_name}" [{names}]\n'
        f'    y-axis "{unit}" 0 --> {_plain(float(f"{max(values) * 1.2:.3g}"))}\n'
        f"    line [{', '.join(_plain(value) for value in values)}]\n```\n"
    )


def _plain(value: float) -> str:
    """Without an exponent, which Mermaid does not read."""
    return np.format_float_positional(value, trim="-")
