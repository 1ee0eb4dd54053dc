"""Sends what a source holds: one body at a time, until each of its events is settled.

The sender sleeps nowhere and starts no thread. `step` does what is to be done now and says how long to wait; whoever
calls it waits. So all its time is that of its clocks, and a test makes a day pass in a moment.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from view_counts_client.answers import Outcome, Verdict, outcome
from view_counts_client.bodies import NDJSON, ndjson, packed
from view_counts_client.clock import Clock, shift_to
from view_counts_client.endpoints import Breaker, Endpoints
from view_counts_client.events import Event
from view_counts_client.happenings import Delivered, EndpointChanged, Expired, Refused, Retrying, Telling
from view_counts_client.ids import Ids, text_of
from view_counts_client.retry import Backoff, RetryBudget
from view_counts_client.source import Batch, Source
from view_counts_client.transport import Answer, NoAnswerError, Transport

LOG = logging.getLogger("view_counts_client")
EVENTS_PATH = "/v1/events"
TIME_PATH = "/v1/time"
# Whoever uses the client has to change something; until then there is no hurry.
REFUSED_WAIT_S = 30.0
# After 429 without a Retry-After.
LIMITED_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How a sender sends."""

    backoff: Backoff
    encoding: str
    expire_after_ms: int


@dataclass(frozen=True, slots=True)
class Remaining:
    """Events that wait, and events that are being sent or wait to be sent once more."""

    waiting: int
    in_flight: int

    @property
    def events(self) -> int:
        """All of them."""
        return self.waiting + self.in_flight

    def __bool__(self) -> bool:
        """Whether something is left."""
        return self.events > 0


@dataclass(slots=True)
class _Part:
    """Events that are sent in one body, with the key that stays theirs while they are the same."""

    events: Sequence[Event]
    key: str
    body: bytes
    encoding: str | None
    attempts: int = 0


class Sender:
    """The sender of one process. One thread alone calls it."""

    def __init__(
        self,
        source: Source,
        endpoints: Endpoints,
        transport: Transport,
        *,
        headers: Mapping[str, str],
        policy: Policy,
        budget: RetryBudget,
        clock: Clock,
        ids: Ids,
        tell: Telling,
        now_s: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._source = source
        self._endpoints = endpoints
        self._transport = transport
        self._headers = dict(headers)
        self._policy = policy
        self._budget = budget
        self._clock = clock
        self._ids = ids
        self._tell = tell
        self._now_s = now_s
        self._random = random
        # Held while events go from the source to the hand, or back.
        self._moving = threading.Lock()
        self._batch: Batch | None = None
        self._parts: list[_Part] = []
        self._again: list[Event] = []
        self._failures = 0
        self._from_s = 0.0

    def remaining(self) -> Remaining:
        """What is not settled. From any thread."""
        with self._moving:
            in_hand = 0 if self._batch is None else len(self._batch.events)
            return Remaining(self._source.waiting(), in_hand)

    def unsettled(self) -> Batch | None:
        """The batch in hand, with those of its events that are not settled. From any thread."""
        with self._moving:
            if self._batch is None:
                return None
            left = [event for part in [*self._parts] for event in part.events]
            return Batch([*left, *self._again], self._batch.origin)

    def step(self, *, hurry: bool = False) -> float | None:
        """Do what is to be done now. Returns how long to wait until the next step; None if nothing waits."""
        now_s = self._now_s()
        if self._batch is None:
            due_s = self._source.due_s(now_s, hurry=hurry)
            if due_s is None or due_s > 0:
                return due_s
        if now_s < self._from_s:
            return self._from_s - now_s
        if not self._clock.is_known:
            return self._ask_time(now_s)
        if self._batch is None:
            self._begin(now_s)
        return self._send_part(now_s) if self._parts else self._settle(now_s)

    def _begin(self, now_s: float) -> None:
        with self._moving:
            batch = self._batch = self._source.take(now_s)
        self._again = []
        self._parts = [self._part(batch.events)] if batch.events else []

    def _part(self, events: Sequence[Event]) -> _Part:
        key = text_of(self._ids.make(self._clock.now_ms()))
        return _Part(events, key, *packed(ndjson(events), self._policy.encoding))

    def _settle(self, now_s: float) -> float:
        if self._batch is not None:
            if self._again:
                self._tell(Retrying(len(self._again), "the service could not write these events", 0.0))
            with self._moving:
                self._source.settled(self._batch, self._again, now_s, self._random())
                self._batch = None
        return 0.0

    def _send_part(self, now_s: float) -> float:
        part = self._in_time(self._parts[0])
        if part is None:
            self._parts.pop(0)
            return 0.0
        chosen = self._endpoints.choose(now_s)
        if not isinstance(chosen, tuple):
            return chosen
        url, breaker = chosen
        if part.attempts == 0:
            self._budget.attempted()
        part.attempts += 1
        headers = {"content-type": NDJSON, "idempotency-key": part.key, **self._headers}
        if part.encoding is not None:
            headers["content-encoding"] = part.encoding
        found = self._asked(url, breaker, lambda: self._transport.post(url + EVENTS_PATH, headers, part.body))
        if isinstance(found, str):
            return self._retry(part, found, None)
        now_ms = self._clock.now_ms()
        return self._answered(
            part, outcome(found.status, found.headers, found.body, len(part.events), now_ms / 1000), url, breaker
        )

    def _in_time(self, part: _Part) -> _Part | None:
        """The part without events that are too old by now. None if none is left."""
        oldest_ms = self._clock.now_ms() - self._policy.expire_after_ms
        expired = [event for event in part.events if event.viewed_at_ms < oldest_ms]
        if not expired:
            return part
        self._tell(Expired(expired))
        left = [event for event in part.events if event.viewed_at_ms >= oldest_ms]
        if not left:
            return None
        self._parts[0] = self._part(left)
        self._parts[0].attempts = part.attempts
        return self._parts[0]

    def _answered(self, part: _Part, found: Outcome, url: str, breaker: Breaker) -> float:
        match found.verdict:
            case Verdict.SETTLED:
                self._settled(part, found)
                return 0.0
            case Verdict.SPLIT:
                LOG.warning("a body of %d events is sent in two: %s", len(part.events), found.reason)
                middle = len(part.events) // 2
                self._parts[:1] = [self._part(part.events[:middle]), self._part(part.events[middle:])]
                return 0.0
            case Verdict.WAIT:
                wait_s = LIMITED_WAIT_S if found.retry_after_s is None else found.retry_after_s
                # A limit is that of the key, so another endpoint would answer the same.
                return self._retry(part, found.reason, wait_s)
            case Verdict.REFUSED:
                LOG.error("%s refuses events, which are kept and sent again: %s", url, found.reason)
                wait_s = REFUSED_WAIT_S if found.retry_after_s is None else found.retry_after_s
                breaker.told_to_wait(self._now_s() + wait_s)
                return self._retry(part, found.reason, None)
            case Verdict.AGAIN:
                if found.retry_after_s is not None:
                    breaker.told_to_wait(self._now_s() + found.retry_after_s)
                if found.refused:
                    part = self._without_refused(part, found)
                return self._retry(part, found.reason, None)

    def _settled(self, part: _Part, found: Outcome) -> None:
        if found.refused:
            self._tell(Refused([(part.events[one.index], one) for one in found.refused]))
        self._again += [part.events[index] for index in found.again]
        taken = len(part.events) - len(found.refused) - len(found.again)
        if taken:
            self._tell(Delivered(taken))
        self._failures = 0
        self._parts.pop(0)

    def _without_refused(self, part: _Part, found: Outcome) -> _Part:
        self._tell(Refused([(part.events[one.index], one) for one in found.refused]))
        attempts = part.attempts
        part = self._parts[0] = self._part([part.events[index] for index in found.again])
        part.attempts = attempts
        return part

    def _retry(self, part: _Part, reason: str, asked_s: float | None) -> float:
        """Wait for as long as backoff, budget and service ask."""
        now_s = self._now_s()
        self._failures += 1
        backoff_s = self._policy.backoff.wait_s(self._failures, self._random())
        wait_s = max(backoff_s, asked_s or 0.0, self._budget.wait_s(now_s))
        self._from_s = now_s + wait_s
        self._tell(Retrying(len(part.events), reason, wait_s))
        return wait_s

    def _asked(self, url: str, breaker: Breaker, ask: Callable[[], Answer]) -> Answer | str:
        """The answer, or why there is none. The endpoint's breaker notes which."""
        before = breaker.state
        breaker.begun()
        try:
            answer: Answer | str = ask()
        except NoAnswerError as error:
            answer = str(error)
        if isinstance(answer, str) or answer.status >= 500:
            breaker.failed(self._now_s(), self._random())
        else:
            breaker.succeeded()
        if breaker.state is not before:
            self._tell(EndpointChanged(url, breaker.state))
        return answer

    def _ask_time(self, now_s: float) -> float:
        """Set the clock right, once and before anything is sent: afterwards no event's time may change."""
        chosen = self._endpoints.choose(now_s)
        if not isinstance(chosen, tuple):
            return chosen
        url, breaker = chosen
        asked_ms = self._clock.now_ms()
        answer = self._asked(url, breaker, lambda: self._transport.get(url + TIME_PATH, self._headers))
        answered_ms = self._clock.now_ms()
        if isinstance(answer, str) or answer.status >= 500 or answer.status == 429:
            reason = answer if isinstance(answer, str) else f"{answer.status} at {url}{TIME_PATH}"
            self._failures += 1
            wait_s = self._policy.backoff.wait_s(self._failures, self._random())
            self._from_s = now_s + wait_s
            LOG.info("the time is asked again in %.1f s: %s", wait_s, reason)
            return wait_s
        self._failures = 0
        found = _service_ms(answer)
        if found is None:
            LOG.error("%s%s answers no time (%d), so that of this device is used", url, TIME_PATH, answer.status)
        shift = 0 if found is None else shift_to(asked_ms, answered_ms, found)
        if shift:
            LOG.warning("this device's clock is %+d ms off; times of views are corrected by it", -shift)
        self._source.correct(shift)
        return 0.0


def _service_ms(answer: Answer) -> int | None:
    if answer.status != 200:
        return None
    try:
        now = json.loads(answer.body)["now"]
    except (ValueError, TypeError, KeyError):
        return None
    return now if type(now) is int else None
