"""The endpoint of GET /v1/recent."""

import asyncio
import math
import time
from collections.abc import Mapping

from redis import RedisError
from starlette.requests import Request
from starlette.responses import Response

from services.access.access import KEY_PARAMETER, Access
from services.access.caller import Caller
from services.ingest import routes
from services.ingest.recent.answers import NoRecent, Recent
from services.ingest.recent.notes import Notes, Of
from services.ingest.recent.refusals import Refusals
from services.ingest.recent.shared import SharedRecent, bodies_together, together
from services.ingest.recent.shown import newest
from services.json_answer import NO_STORE, json_answer
from services.limits.buckets import Amount, Buckets, Limits, Rate
from services.parameters import check_known
from services.refused import RefusedError

# A publishable key is known to everybody.
ASKERS = frozenset({"write", "admin"})
# An answer costs about as much as the events of a hundred bodies, and is not worth more to anybody.
ASKS_PER_S = 5.0
ASKS_AT_ONCE = 20.0
_ASKS = Rate(ASKS_PER_S, ASKS_AT_ONCE)
_ONE = Amount(1.0)


class RecentEndpoint:
    """Answers what became of a key's last events. `shared` is None if there is no Redis on purpose."""

    def __init__(self, access: Access, notes: Notes, refusals: Refusals, shared: SharedRecent | None) -> None:
        self._access = access
        self._notes = notes
        self._refusals = refusals
        self._shared = shared
        # By asking key. There are no more than keys in the file.
        self._buckets: dict[Of, Buckets] = {}

    async def get(self, request: Request) -> Response:
        """The endpoint."""
        try:
            caller = self._access.caller(request, ASKERS)
            key = self._key(request, caller)
            self._admit(caller)
            answer = await self._recent(caller.project, key)
        except RefusedError as refused:
            return _answer(NoRecent(refused.error), refused.status, refused.headers)
        return _answer(answer)

    async def _recent(self, project: str, key: str | None) -> Recent:
        of = (project, key)
        # In a thread, since the loop takes events.
        own = await asyncio.to_thread(newest, self._notes.of(of), self._notes.process)
        refused = self._refusals.of(of)
        if self._shared is not None:
            try:
                events = together(own, await self._shared.recent(of))
                return Recent(project, key, None, events, bodies_together(refused, await self._shared.refused(of)))
            except (RedisError, OSError):
                # The answer says that other processes are not in it.
                pass
        return Recent(project, key, self._notes.process, own, refused)

    def _admit(self, caller: Caller) -> None:
        """Raise RefusedError (429) if the caller asks too often."""
        of = (caller.project, caller.key)
        buckets = self._buckets.setdefault(of, Buckets(Limits(_ASKS, _ASKS)))
        wait_s = buckets.lease(_ONE, _ONE, time.monotonic()).wait_s
        if wait_s > 0:
            text = f"more than {ASKS_PER_S:g} questions a second"
            raise RefusedError(429, text, retry_after_s=math.ceil(wait_s))

    def _key(self, request: Request, caller: Caller) -> str | None:
        """The key that is asked for. Raises RefusedError (404, 422)."""
        name = routes.KEY_ID.name
        check_known(request.query_params, (name, KEY_PARAMETER))
        asked = request.query_params.get(name)
        if asked is None:
            return caller.key
        if caller.key is None:
            raise RefusedError(404, f"access is open, so that there are no keys; leave {name} out")
        known = self._access.known.ids_of(caller.project)
        if asked not in known:
            raise RefusedError(404, f"the project has no key {asked:.80}; it has {', '.join(known)}")
        return asked


def _answer(answer: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # What one key may see is for no cache.
    return json_answer(answer, status, {**(headers or {}), **NO_STORE})
