"""What can be searched."""

from services.openapi import Answer, Operation, Parameter
from services.query.api.answers.search import Search
from services.query.api.operations.shared import REFUSALS, TRUST
from services.query.api.parameters.search import DEFAULT_LIMIT, LIMIT_MAX, TEXT_BYTES_MAX

SEARCH = Operation(
    "/v1/search",
    "Videos by the beginning of their id or title.",
    Answer("Videos whose id begins with the text, then those with its words in the title.", (Search,), headers=TRUST),
    REFUSALS,
    (
        Parameter("q", f"The text, of at most {TEXT_BYTES_MAX} bytes.", required=True),
        Parameter(
            "limit",
            "How many videos.",
            {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": DEFAULT_LIMIT},
        ),
    ),
    description="Only videos whose metadata was published are found. An id is compared byte by byte. Of titles, case "
    "and accents do not matter, the last word may be cut off, and signs have no meaning of their own.",
    rows="videos",
)
