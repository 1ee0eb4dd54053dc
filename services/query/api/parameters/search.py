"""What is searched for."""

from collections.abc import Mapping

from services.query.api.parameters.choices import number
from services.query.api.parameters.names import check_name

TEXT_BYTES_MAX = 200
DEFAULT_LIMIT = 10
LIMIT_MAX = 50


def read_search(query: Mapping[str, str]) -> tuple[str, int]:
    """The text and the number of videos that `q` and `limit` ask for."""
    text = check_name("q", query.get("q", ""), TEXT_BYTES_MAX)
    return text, number(query, "limit", LIMIT_MAX, DEFAULT_LIMIT)
