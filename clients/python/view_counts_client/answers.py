"""What an answer of the service means for the events that were sent. Pure: knows no network and no clock."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

# How the remedy of an event begins that was not written, and may be the next time.
SEND_AGAIN = "send it again"
# No service asks a client to wait for longer; a wrong date could.
RETRY_AFTER_MAX_S = 3600.0


class Verdict(Enum):
    """What to do with the body as a whole."""

    # Each event has its outcome.
    SETTLED = auto()
    # Not now: the same body again, after a wait.
    AGAIN = auto()
    # The endpoint works and asks to wait.
    WAIT = auto()
    # The endpoint takes nothing of this client, as long as nobody changes the key or the address.
    REFUSED = auto()
    # The same events, in two bodies.
    SPLIT = auto()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the service will never take an event, by its place in the body."""

    index: int
    field: str | None
    value: str | None
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an answer says. `refused` and `again` are disjoint; all other events are taken if the verdict is SETTLED."""

    verdict: Verdict
    reason: str = ""
    refused: list[Refusal] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    retry_after_s: float | None = None


def outcome(status: int, headers: Mapping[str, str], body: bytes, events: int, now_s: float) -> Outcome:
    """What an answer says about a body with so many events. `now_s` is the time since 1970; header names are small."""
    wait_s = retry_after_s(headers.get("retry-after"), now_s)
    result = _result(body)
    reason = f"{status}: {result.get('error') or body[:200].decode('utf-8', 'replace')}"
    if status == 202:
        # An answer that names fewer events than were sent is of something else than the service.
        return _settled(result, events) or Outcome(Verdict.AGAIN, f"{status} without a result: {reason}")
    if status == 503:
        # Events that can never be taken are named beside those that were not written.
        found = _settled(result, events) if result.get("rejected") else None
        if found is not None and found.again and len(found.again) + len(found.refused) == events:
            return Outcome(Verdict.AGAIN, "503: nothing was written", found.refused, found.again, wait_s)
        return Outcome(Verdict.AGAIN, reason, retry_after_s=wait_s)
    # A proxy answers the same when it is set wrongly, and knows nothing of events.
    is_own = "accepted" in result
    if status == 400 and is_own:
        found = _settled(result, events) if result.get("rejected") else None
        if found is not None and len(found.refused) == events:
            return found
        return _apart(reason, events)
    if status in {408, 413} and events > 1:
        return Outcome(Verdict.SPLIT, reason)
    if status == 413 and is_own:
        return _apart(reason, events)
    if status == 408:
        return Outcome(Verdict.AGAIN, reason)
    if status == 429:
        return Outcome(Verdict.WAIT, reason, retry_after_s=wait_s)
    if 300 <= status < 500:
        return Outcome(Verdict.REFUSED, reason, retry_after_s=wait_s)
    return Outcome(Verdict.AGAIN, reason, retry_after_s=wait_s)


def retry_after_s(text: str | None, now_s: float) -> float | None:
    """The wait that a Retry-After header asks for, which is in s or a date; None if it asks for none."""
    if text is None:
        return None
    try:
        wait_s = float(text) if text.strip().isdecimal() else parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, wait_s), RETRY_AFTER_MAX_S)


def _apart(reason: str, events: int) -> Outcome:
    """The body is at fault, so one half of it may be taken. A single event that is at fault never will be."""
    if events > 1:
        return Outcome(Verdict.SPLIT, reason)
    refusal = Refusal(0, None, None, reason, "send an event that the service can read")
    return Outcome(Verdict.SETTLED, refused=[refusal])


def _result(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _settled(result: dict[str, Any], events: int) -> Outcome | None:
    """The outcome of each event; None if the answer does not account for all of them."""
    accepted, rejected = result.get("accepted"), result.get("rejected", [])
    if type(accepted) is not int or not isinstance(rejected, list):
        return None
    refused: dict[int, Refusal] = {}
    again: set[int] = set()
    for one in rejected:
        index = one.get("index") if isinstance(one, dict) else None
        if type(index) is not int or not 0 <= index < events:
            return None
        if str(one.get("remedy", "")).startswith(SEND_AGAIN):
            again.add(index)
        else:
            refused[index] = Refusal(
                index, one.get("field"), one.get("value"), str(one.get("reason")), str(one.get("remedy"))
            )
    again -= refused.keys()
    if accepted + len(refused) + len(again) != events:
        return None
    return Outcome(Verdict.SETTLED, refused=[refused[index] for index in sorted(refused)], again=sorted(again))
