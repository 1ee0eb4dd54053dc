"""Which names a caller may ask for: kinds, videos and channels that the key names."""

from collections.abc import Iterable, Sequence

from schemas.kinds import DEFAULT_KIND
from services.access.caller import Caller
from services.openapi import Parameter
from services.query.api.parameters.names import ALL_KINDS
from services.query.api.question import Question
from services.query.titles.following import Following, NotReadError
from services.refused import RETRY_AFTER_S, RefusedError


def check_names(question: Question, kind: Parameter | None) -> None:
    """Raise RefusedError (403) if the caller may not ask for one of these kinds, or for this video.

    `kind` is the parameter of that name, if there is one. A key that is held to some videos asks for one of them. Lists
    and channels have others, too.
    """
    named: Sequence[str] = () if kind is None else question.query_params.all("kind") or (DEFAULT_KIND,)
    if kind is not None and kind.is_repeated:
        # All kinds of a video are those of them that the caller may name.
        named = [one for one in named if one != ALL_KINDS]
    check_all(question.caller, [question.path_params.get("video_id", "")], named)


def check_all(caller: Caller, video_ids: Iterable[str], kinds: Iterable[str]) -> None:
    """Raise RefusedError (403) if the caller may not ask for one of these kinds, or of these videos."""
    if caller.names_all:
        return
    refusals = [caller.kind_refusal(kind) for kind in kinds]
    if caller.video_id_prefix:
        refusals += [caller.video_refusal(video_id) for video_id in video_ids]
    for refusal in refusals:
        if refusal is not None:
            raise RefusedError(403, refusal)


def check_channels(
    caller: Caller, following: Following | None, *, video_ids: Iterable[str] = (), channel_ids: Iterable[str] = ()
) -> None:
    """Raise RefusedError if the caller is held to channels, and one of these videos or channels is not of them.

    That is 403; and 503 while it is unknown of which channel a video is. A caller who is held to channels and names
    neither asks for those of others, too.
    """
    if caller.channels is None:
        return
    videos, channels = list(video_ids), list(channel_ids)
    if not videos and not channels:
        raise RefusedError(403, f"the key {caller.key} is for channels: ask for one of them, or for their videos")
    for channel_id in [*channels, *(_channel_of(video_id, caller, following) for video_id in videos)]:
        refusal = caller.channel_refusal(channel_id)
        if refusal is not None:
            raise RefusedError(403, refusal)


def _channel_of(video_id: str, caller: Caller, following: Following | None) -> str:
    try:
        found = None if following is None else following.channel_of(video_id)
    except NotReadError as error:
        unknown = f"the key {caller.key} is for channels, and of which this video is, is not known yet: {error}"
        raise RefusedError(503, unknown, retry_after_s=RETRY_AFTER_S) from error
    if found is None:
        raise RefusedError(403, f"the key {caller.key} is for channels, and no channel of this video is known")
    return found
