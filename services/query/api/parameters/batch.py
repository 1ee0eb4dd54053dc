"""Which totals of which videos a body asks for."""

import re
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from schemas.kinds import DEFAULT_KIND
from schemas.limits import VIDEO_ID_BYTES_MAX
from services.parameters import ParameterError
from services.query.api.parameters.kinds import KindsAsked, read_kinds
from services.query.api.parameters.names import check_name
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
    kind: Annotated[
        str | list[str],
        Meta(description="What is counted: a kind, a list of kinds, or * for the kinds that each video has."),
    ] = DEFAULT_KIND
    sum: Annotated[bool, Meta(description="Whether to answer the sum over all videos, too.")] = False


class BatchQuestion(NamedTuple):
    """What a body asks for."""

    video_ids: Sequence[str]
    kinds: KindsAsked
    has_sum: bool


_DECODER = msgspec.json.Decoder(BatchBody)


def read_batch(body: bytes) -> BatchQuestion:
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
    _check_videos(asked.video_ids)
    kinds = read_kinds([asked.kind] if isinstance(asked.kind, str) else _some(asked.kind))
    check_numbers(len(asked.video_ids) * len(kinds.names))
    return BatchQuestion(asked.video_ids, kinds, asked.sum)


def check_numbers(numbers: int) -> None:
    """Raise ParameterError if an answer would have more numbers than one may."""
    if numbers > NUMBERS_MAX:
        raise ParameterError(
            "video_ids", "", f"and kind ask for {numbers} numbers, more than {NUMBERS_MAX}; ask for fewer at a time"
        )


def _some(kinds: Sequence[str]) -> Sequence[str]:
    if not kinds:
        raise ParameterError("kind", "", "must have at least one name, or be left out")
    return kinds


def _check_videos(video_ids: Sequence[str]) -> None:
    if not 1 <= len(video_ids) <= VIDEOS_MAX:
        raise ParameterError("video_ids", "", f"must have 1 to {VIDEOS_MAX} names, has {len(video_ids)}")
    seen: dict[str, int] = {}
    for place, video_id in enumerate(video_ids):
        field = f"video_ids[{place}]"
        check_name(field, video_id, VIDEO_ID_BYTES_MAX)
        first = seen.setdefault(video_id, place)
        if first != place:
            raise ParameterError(field, video_id, f"is video_ids[{first}] again; name each once")
