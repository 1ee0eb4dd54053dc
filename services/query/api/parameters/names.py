"""Names of videos, channels and kinds."""

from collections.abc import Mapping

from schemas import limits
from schemas.kinds import BLOCKED_PREFIX, DEFAULT_KIND
from services.parameters import ParameterError

# What totals and series say for all kinds of a video.
ALL_KINDS = "*"
# The kind of blocked views is a client's kind with a prefix.
KIND_BYTES_MAX = limits.KIND_BYTES_MAX + len(BLOCKED_PREFIX)


def check_name(field: str, value: str, bytes_max: int) -> str:
    """Return `value` if it is 1 to `bytes_max` bytes of UTF-8. Raises ParameterError otherwise."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise ParameterError(field, ascii(value), "must be UTF-8") from error
    if not 1 <= size <= bytes_max:
        raise ParameterError(field, value, f"must be 1 to {bytes_max} bytes of UTF-8, is {size}")
    return value


def read_kind(query: Mapping[str, str]) -> str:
    """The one kind of events that `kind` asks for. Raises ParameterError, also for ALL_KINDS."""
    kind = query.get("kind", DEFAULT_KIND)
    if kind == ALL_KINDS:
        # It would be answered as a kind of that name, whose number is 0.
        raise ParameterError("kind", kind, "is for totals, series and batches of videos; name one kind")
    return check_name("kind", kind, KIND_BYTES_MAX)
