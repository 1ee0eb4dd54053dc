"""Which names a caller may ask for: kinds and videos that the key names."""

from starlette.requests import Request

from services.access.caller import Caller
from services.query.api.parameters.names import DEFAULT_KIND
from services.refused import RefusedError


def check_names(caller: Caller, request: Request, *, has_kind: bool) -> None:
    """Raise RefusedError (403) if the caller may not ask for this kind, or for this video.

    A key that is held to some videos asks for one of them. Lists and channels have others, too.
    """
    if caller.names_all:
        return
    refusal = caller.kind_refusal(request.query_params.get("kind", DEFAULT_KIND)) if has_kind else None
    if refusal is None and caller.video_id_prefix:
        refusal = caller.video_refusal(request.path_params.get("video_id", ""))
    if refusal is not None:
        raise RefusedError(403, refusal)
