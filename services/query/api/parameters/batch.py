"""Which totals of which videos a body asks for."""

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from schemas.kinds import DEFAULT_KIND
from schemas.limits import VIDEO_ID_BYTES_MAX
from services.parameters import ParameterError
from services.query.api.parameters.names import KIND_BYTES_MAX, check_name
from services.refused import RefusedError

VIDEOS_MAX = 500
# One video may have many kinds and many videos may have few, since each number costs about the same.
NUMBERS_MAX = 2000
# Longer than so many names, every character of them escaped.
BODY_BYTES_MAX = 256 << 10
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")


class BatchBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The videos and kinds whose totals are asked for."""

    video_ids: Annotated[list[str], Meta(description=f"1 to {VIDEOS_MAX} videos, each of them once.")]
    kind: Annotated[str | list[str], Meta(description="What is counted: a kind, or a list of kinds.")] = DEFAULT_KIND
    sum: Annotated[bool, Meta(description="Whether to answer the sum over all videos, too.")] = False

    @property
    def kinds(self) -> Sequence[str]:
        """All kinds that are asked for."""
        return [self.kind] if isinstance(self.kind, str) else self.kind


_DECODER = msgspec.json.Decoder(BatchBody)


def read_batch(body: bytes) -> BatchBody:
    """The question that a body asks. Raises RefusedError (400), and ParameterError that names a field and its place."""
    try:
        asked = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        place = _PLACE.search(text)
        raise ParameterError(
            place[1] if place else "body", "", f"is not as it should be: {_PLACE.sub('', text)}"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(400, f"the body is no JSON: {error}") from error
    _check_list("video_ids", asked.video_ids, names_max=VIDEOS_MAX, bytes_max=VIDEO_ID_BYTES_MAX)
    if isinstance(asked.kind, str):
        check_name("kind", asked.kind, KIND_BYTES_MAX)
    else:
        _check_list("kind", asked.kind, names_max=NUMBERS_MAX, bytes_max=KIND_BYTES_MAX)
    check_numbers(len(asked.video_ids) * len(asked.kinds))
    return asked


def check_numbers(numbers: int) -> None:
    """Raise ParameterError if an answer would have more numbers than one may."""
    if numbers > NUMBERS_MAX:
        raise ParameterError(
            "video_ids", "", f"and kind ask for {numbers} numbers, more than {NUMBERS_MAX}; ask for fewer at a time"
        )


def _check_list(field: str, names: Sequence[str], *, names_max: int, bytes_max: int) -> None:
    if not 1 <= len(names) <= names_max:
        raise ParameterError(field, "", f"must have 1 to {names_max} names, has {len(names)}")
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        check_name(f"{field}[{place}]", name, bytes_max)
        first = seen.setdefault(name, place)
        if first != place:
            raise ParameterError(f"{field}[{place}]", name, f"is {field}[{first}] again; name each once")
