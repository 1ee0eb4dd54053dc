"""Which parameters of the query a request to ingest may have."""

from starlette.requests import Request

from services.access.access import KEY_PARAMETER
from services.refused import RefusedError


def check_known(request: Request, name: str) -> None:
    """Raise RefusedError (422) for a parameter that is neither this one nor a key.

    A misspelt one must not do what was not meant.
    """
    for given in request.query_params:
        if given not in (name, KEY_PARAMETER):
            raise RefusedError(422, f"the parameter {given:.80} is not known; there are {name} and {KEY_PARAMETER}")
