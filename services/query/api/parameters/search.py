"""What is searched for."""

from collections.abc import Mapping

from schemas.values import ValueFormError, whole_number
from services.parameters import ParameterError
from services.query.api.parameters.names import check_name

TEXT_BYTES_MAX = 200
DEFAULT_LIMIT = 10
LIMIT_MAX = 50


def read_search(query: Mapping[str, str]) -> tuple[str, int]:
    """The text and the number of videos that `q` and `limit` ask for."""
    text = check_name("q", query.get("q", ""), TEXT_BYTES_MAX)
    given = query.get("limit", str(DEFAULT_LIMIT))
    try:
        limit = whole_number(given)
    except ValueFormError as error:
        raise ParameterError("limit", given, str(error)) from error
    if not 1 <= limit <= LIMIT_MAX:
        raise ParameterError("limit", given, f"must be 1 to {LIMIT_MAX}")
    return text, limit
