"""Holds each request against the limits of its caller: before its body is read, and for the rest when it was parsed.

The answers have the header fields RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers-11. The draft
has no unit for events, only for requests and bytes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from services.access.caller import Caller
from services.ingest.tally import IngestTally
from services.limits.buckets import NOTHING, Amount, Limits, Rate
from services.limits.client_names import ClientNames
from services.limits.limiter import Limiter, Verdict
from services.refused import RefusedError
from settings import Settings

POLICY = "RateLimit-Policy"
LEFT = "RateLimit"
KEY, ADDRESS = "key", "address"
# Callers have few different limits.
CACHED_MAX = 1024


@dataclass(slots=True)
class Admitted:
    """A request that was let in. `verdicts` are the last ones by scope."""

    scopes: Sequence[tuple[str, str, Limits]]
    paid: Amount
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says about limits."""
        return _headers(self.verdicts)


class IngestLimits:
    """The limits of ingest's callers."""

    def __init__(self, settings: Settings, limiter: Limiter, tally: IngestTally) -> None:
        self._limiter = limiter
        self._tally = tally
        self._defaults = settings.limits
        self._burst_s = settings.limits.burst_ms / 1000
        self._of_address = self._limits(settings.limits.address_events_per_s, settings.limits.address_bytes_per_s)
        self._clients = ClientNames(settings.access)
        self.address_header = self._clients.header

    async def admit(
        self, caller: Caller, *, declared_bytes: int, peer: str | None, forwarded: Sequence[str]
    ) -> Admitted:
        """Take one event and as many bytes as the request declares. Raises RefusedError (429).

        `peer` is who has connected, and `forwarded` has the values of the header that names clients.
        """
        name = f"project:{caller.project}" if caller.key is None else f"key:{caller.key}"
        scopes = [(KEY, name, self._of_key(caller))]
        if caller.is_publishable:
            # First, so that a flood from one address uses up nothing of the key.
            scopes.insert(0, (ADDRESS, self._clients.name(name, peer, forwarded), self._of_address))
        admitted = Admitted(scopes, Amount(1.0, float(declared_bytes)))
        await self._take(admitted, admitted.paid, NOTHING)
        return admitted

    async def charge(self, admitted: Admitted, *, events: int, body_bytes: int) -> None:
        """Take what a body has beyond what was taken before it was read. Raises RefusedError (429)."""
        whole = Amount(float(events), float(body_bytes))
        # For most bodies the first payment was enough.
        if not admitted.paid.covers(whole):
            await self._take(admitted, admitted.paid.lack(whole), admitted.paid)

    async def _take(self, admitted: Admitted, need: Amount, paid: Amount) -> None:
        for scope, name, limits in admitted.scopes:
            verdict = await self._limiter.take(name, limits, need, paid)
            admitted.verdicts[scope] = verdict
            if verdict.wait_s > 0:
                self._tally.limited(scope)
                raise _refusal(scope, verdict)

    def _of_key(self, caller: Caller) -> Limits:
        defaults = self._defaults
        return self._limits(
            defaults.events_per_s if caller.events_per_s is None else caller.events_per_s,
            defaults.bytes_per_s if caller.bytes_per_s is None else caller.bytes_per_s,
        )

    def _limits(self, events_per_s: float, bytes_per_s: float) -> Limits:
        return _with_burst(events_per_s, bytes_per_s, self._burst_s)


@lru_cache(CACHED_MAX)
def _with_burst(events_per_s: float, bytes_per_s: float, burst_s: float) -> Limits:
    return Limits(Rate(events_per_s, events_per_s * burst_s), Rate(bytes_per_s, bytes_per_s * burst_s))


def _refusal(scope: str, verdict: Verdict) -> RefusedError:
    retry_after_s = max(1, math.ceil(verdict.wait_s))
    who = "this key" if scope == KEY else "one client address"
    events, of_bytes = verdict.limits.events.per_s, verdict.limits.bytes.per_s
    return RefusedError(
        429,
        f"{who} may send {events:g} events and {of_bytes:g} bytes of bodies a second, and has sent more; send this "
        f"again after {retry_after_s} s",
        retry_after_s=retry_after_s,
        headers=_headers({scope: verdict}, retry_after_s),
    )


def _headers(verdicts: Mapping[str, Verdict], retry_after_s: int | None = None) -> dict[str, str]:
    policies: list[str] = []
    left: list[str] = []
    for scope, verdict in verdicts.items():
        told = _told(scope, verdict.limits)
        policies.append(told.policy)
        events, of_bytes = max(0, int(verdict.left.events)), max(0, int(verdict.left.bytes))
        events_s, bytes_s = retry_after_s or told.events_window_s, retry_after_s or told.bytes_window_s
        left.append(f'"{told.events}";r={events};t={events_s}, "{told.bytes}";r={of_bytes};t={bytes_s}')
    return {POLICY: ", ".join(policies), LEFT: ", ".join(left)}


class _Told(NamedTuple):
    """What answers say of one caller's limits: the policy, and of each limit the name and the time of its burst."""

    policy: str
    events: str
    events_window_s: int
    bytes: str
    bytes_window_s: int


@lru_cache(CACHED_MAX)
def _told(scope: str, limits: Limits) -> _Told:
    prefix = "" if scope == KEY else f"{scope}-"
    found: list[tuple[str, int]] = []
    policies = []
    for name, unit, rate in (
        (f"{prefix}events", "events", limits.events),
        (f"{prefix}bytes", "content-bytes", limits.bytes),
    ):
        window_s = max(1, math.ceil(rate.burst / rate.per_s))
        policies.append(f'"{name}";q={max(1, int(rate.burst))};qu="{unit}";w={window_s}')
        found.append((name, window_s))
    return _Told(", ".join(policies), *found[0], *found[1])
