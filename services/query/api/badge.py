"""A number as a small picture: SVG without scripts, links or fonts of others. Pure.

Texts of others are nowhere but in the title, where they are escaped. Labels and colours are from lists.
"""

import html
import re

# The text of the left half, by what `label` may be.
LABELS = {"views": "views", "plays": "plays", "likes": "likes", "shares": "shares", "total": "total"}
DEFAULT_LABEL = "views"
COLORS = {"blue": "#0969da", "green": "#1a7f37", "grey": "#57606a", "orange": "#bc4c00", "purple": "#8250df"}
DEFAULT_COLOR = "blue"
MEDIA = "image/svg+xml"
HEIGHT = 20
# Of a letter or digit at 11 px in common fonts. A thin one leaves room, which does no harm.
LETTER_PX = 7
MARGIN_PX = 6
# What XML 1.0 allows in no form.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BADGE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{title}">'
    "<title>{title}</title>"
    '<clipPath id="r"><rect width="{width}" height="20" rx="3"/></clipPath>'
    '<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#3d444d"/>'
    '<rect x="{left}" width="{right}" height="20" fill="{color}"/></g>'
    '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
    '<text x="{left_middle}" y="14">{label}</text><text x="{right_middle}" y="14">{number}</text></g></svg>'
)


def badge(views: int, *, of: str, label: str, color: str) -> bytes:
    """The picture. `of` is what people call the video, `label` and `color` are names of the lists."""
    number, name = f"{views:,}", LABELS[label]
    left, right = (2 * MARGIN_PX + LETTER_PX * len(text) for text in (name, number))
    return _BADGE.format(
        width=left + right,
        left=left,
        right=right,
        left_middle=left // 2,
        right_middle=left + right // 2,
        color=COLORS[color],
        label=name,
        number=number,
        title=_text(f"{of}: {number} {name}"),
    ).encode()


def _text(text: str) -> str:
    return html.escape(_NO_XML.sub("\ufffd", text), quote=True)
