"""Which names a caller may ask for: kinds and videos that the key names."""

from collections.abc import Iterable

from schemas.kinds import DEFAULT_KIND
from services.access.caller import Caller
from services.query.api.question import Question
from services.refused import RefusedError


def check_names(question: Question, *, has_kind: bool) -> None:
    """Raise RefusedError (403) if the caller may not ask for one of these kinds, or for this video.

    A key that is held to some videos asks for one of them. Lists and channels have others, too.
    """
    kinds = (question.query_params.all("kind") or (DEFAULT_KIND,)) if has_kind else ()
    check_all(question.caller, [question.path_params.get("video_id", "")], kinds)


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
