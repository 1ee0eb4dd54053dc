"""Which pictures there are."""

from typing import Any

from services.openapi import Answer, Operation, Parameter
from services.query.api.badge import COLORS, DEFAULT_COLOR, DEFAULT_LABEL, LABELS, MEDIA
from services.query.api.operations.shared import KIND, REFUSALS, VIDEO, choice

BADGE: Operation[Any] = Operation(
    "/v1/videos/{video_id}/badge.svg",
    "The total of one video, as a picture.",
    Answer("The picture. Its title says of which video it is.", media=MEDIA),
    REFUSALS,
    (
        VIDEO,
        KIND,
        Parameter("label", "The text beside the number.", choice(LABELS, default=DEFAULT_LABEL)),
        Parameter("color", "The colour behind the number.", choice(COLORS, default=DEFAULT_COLOR)),
    ),
    description="For a publishable key, caches may keep the picture for a minute. Instead of an Origin, the page may "
    "be named by Referer, which is what browsers send for pictures.",
)
