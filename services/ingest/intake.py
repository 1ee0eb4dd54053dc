"""The way of a request with events through the service, step by step. It ends in an answer or in a RefusedError.

Each step is a module of its own: limits, bodies, encodings, forms, taking, writer. What refuses a request does so
before its body is read if it can.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar, cast

from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from services.access.access import KEY_PARAMETER, WRITERS, Access
from services.access.caller import Caller
from services.bodies import declared_bytes, read_body, sent_bytes
from services.door import BEHIND, REFUSED
from services.ingest import forms, idempotency, routes
from services.ingest.answers import BOUNDED, OVERFLOW, Result
from services.ingest.delivery import Delivered, Delivery
from services.ingest.encodings import checked_encoding, unpack
from services.ingest.events import Terms
from services.ingest.idempotency import key_of
from services.ingest.limits import IngestLimits
from services.ingest.marks import Marks
from services.ingest.novelty import Novelty
from services.ingest.packing import Made, Reach
from services.ingest.recent.notes import Notes
from services.ingest.recent.refusals import Refusals
from services.ingest.recent.shown import VIEWER
from services.ingest.rejections import REJECTIONS_MAX, rejection, too_many
from services.ingest.taking import Packing, Taken, read
from services.ingest.tally import IngestTally
from services.ingest.writer import EventWriter, acknowledged_batches
from services.json_answer import json_answer
from services.loop_turns import Turns
from services.parameters import ParameterError, check_known
from services.refused import RETRY_AFTER_S, RefusedError
from services.room import Held, Room
from settings import Settings
from settings.durations import HOUR_MS

# A larger body is read in a thread. Python takes up to 11 ms for one of this size, a kernel a tenth of it at most.
LOOP_BYTES_MAX = 160 << 10
# So many events that no kernel has taken are packed in a thread, which takes up to 6 µs for each.
LOOP_EVENTS_MAX = 1000
# A text of a user agent that nobody has seen takes up to 100 µs, so that these bodies are large sooner.
LOOP_AGENTS_BYTES_MAX = 16 << 10

P = ParamSpec("P")
T = TypeVar("T")

NOTHING = Delivered([])
SEND_AGAIN = "send it again, with the same id and time"


class Intake:
    """Takes requests with events."""

    def __init__(
        self,
        settings: Settings,
        writer: EventWriter,
        delivery: Delivery,
        access: Access,
        limits: IngestLimits,
        marks: Marks,
        tally: IngestTally,
        notes: Notes,
        refusals: Refusals,
        turns: Turns,
    ) -> None:
        self._notes = notes
        self._refusals = refusals
        self._turns = turns
        self._access = access
        self._delivery = delivery
        self._tally = tally
        self._limits = limits
        self._ingest = settings.ingest
        self._salts = settings.counting.salts
        self._reach = Reach(
            settings.history.late_hours * HOUR_MS + settings.ingest.past_margin_ms,
            settings.counting.future_skew_ms + settings.ingest.future_margin_ms,
            settings.counting.lateness_ms,
        )
        self._writer = writer
        self._marks = marks
        self._novelty = Novelty(settings.limits.names_per_day_max)
        self._room = Room(settings.ingest.bodies_bytes_max)
        self._events_max = min(settings.ingest.body_events_max, settings.ingest.events_in_flight_max)

    async def post_events(self, request: Request) -> Response:
        """The endpoint of POST /v1/events."""
        caller = None
        try:
            caller = self._caller(request)
            with self._room.request() as held:
                response = await self._take(caller, request, held)
        except RefusedError as refused:
            if caller is not None:
                self._note_refused(caller, request, refused)
            response = _answer(refused.status, Result(0, [], error=refused.error), refused.headers)
        self._tally.answered(response.status_code)
        return response

    def _caller(self, request: Request) -> Caller:
        """Who sends the request. Raises RefusedError (401, 403; 503 while the process is behind)."""
        if REFUSED in request.scope.get("state", ()):
            self._tally.behind.inc()
            raise RefusedError(503, BEHIND, retry_after_s=RETRY_AFTER_S)
        return self._access.caller(request, WRITERS)

    def _note_refused(self, caller: Caller, request: Request, refused: RefusedError) -> None:
        self._refusals.note(caller, time.time_ns() // 1_000_000, refused, sent_bytes(request.headers))

    async def _take(self, caller: Caller, request: Request, held: Held) -> Response:
        is_dry_run = _dry_run(request)
        if is_dry_run and caller.is_publishable:
            raise RefusedError(403, f"{routes.DRY_RUN.name} is for secret keys; leave it out, or use one of those")
        media = forms.media_of(request.headers)
        encoding = checked_encoding(request.headers.get("content-encoding", ""))
        declared = declared_bytes(request.headers, bytes_max=self._ingest.body_bytes_max)
        key = key_of(request.headers.getlist(idempotency.HEADER), time.time_ns() // 1_000_000)
        self._admit()
        peer, forwarded = self._sender(request)
        admitted = await self._limits.admit(caller, declared_bytes=declared, peer=peer, forwarded=forwarded)
        held.hold(declared)
        body = await self._body(request, encoding, held)
        forms.check_events(media, body, self._events_max)
        terms = Terms(caller.project, key, caller.is_strict)
        marks = self._marks.of(caller, request.headers, peer, forwarded)
        now_ms = time.time_ns() // 1_000_000
        packing = Packing(now_ms, self._salts, marks.tail, self._reach, marks.own_tail, marks.country)
        bytes_max = self._ingest.body_bytes_max
        reading = await _beside(
            len(body) > LOOP_BYTES_MAX, read, media, body, terms, packing, caller, unpacked_bytes_max=bytes_max
        )
        await self._limits.charge(admitted, events=reading.total, body_bytes=len(body))
        self._admit_events(reading.readable)
        reading.parsed = self._novelty.only_known(caller, reading.parsed, packing.now_ms)
        await self._turns.go_on()
        loop_bytes_max = LOOP_AGENTS_BYTES_MAX if reading.has_agents else LOOP_BYTES_MAX
        is_large = len(body) > loop_bytes_max or len(reading.parsed.events) > LOOP_EVENTS_MAX
        taken = await _beside(is_large, reading.pack)
        packed, rejected, parsed = taken.packed, taken.packed.rejected, reading.parsed
        if (reason := too_many(rejected)) is not None:
            self._note_refused(caller, request, RefusedError(400, reason))
            return _answer(400, Result(0, rejected[:REJECTIONS_MAX], error=reason))
        # Others may have come meanwhile.
        self._admit_events(packed.count)
        if rejected and not is_dry_run:
            self._tally.rejected(len(rejected))
        is_written = packed.count > 0 and not is_dry_run
        delivered = NOTHING
        if is_written:
            delivered = await self._delivery.write(packed, is_diverted=caller.is_diverted, is_bounded=parsed.is_bounded)
            # Kafka acknowledges the events of many requests together.
            await self._turns.go_on()
        failed = delivered.failed
        rejected += [rejection(index, None, None, f"not written: {reason}", SEND_AGAIN) for index, reason in failed]
        rejected.sort(key=lambda rejection: rejection.index)
        if not is_dry_run:
            self._notes.note(caller, packing.now_ms, packed, rejected, len(failed), (media, body, parsed.ignored))
        ignored = (sorted({*parsed.ignored, VIEWER}) if packed.has_nobody else parsed.ignored) or UNSET
        clock_off_ms = UNSET if parsed.sent_at_ms is None else parsed.sent_at_ms - packing.now_ms
        if packed.count == 0:
            reason = "no event in the body is usable" if rejected else "the body holds no event"
            if not rejected:
                self._note_refused(caller, request, RefusedError(400, reason))
            return _answer(400, Result(0, rejected, ignored=ignored, clock_off_ms=clock_off_ms, error=reason))
        late = len(set(packed.late).difference(index for index, _ in failed))
        result = Result(
            packed.count - len(failed),
            rejected,
            _event_ids(taken),
            ignored,
            BOUNDED if parsed.is_bounded else UNSET,
            late or UNSET,
            clock_off_ms,
            OVERFLOW if delivered.is_stored else UNSET,
        )
        if result.accepted == 0:
            return _answer(503, result, {"Retry-After": str(RETRY_AFTER_S)})
        named = {routes.BATCH_IDS: ", ".join(acknowledged_batches(delivered.shares))} if caller.has_batch_ids else {}
        return _answer(202, result, {**admitted.headers, **named})

    def _sender(self, request: Request) -> tuple[str | None, Sequence[str]]:
        """Who has connected, and the values of the header in which proxies name clients."""
        header = self._limits.address_header
        peer = request.client.host if request.client is not None else None
        return peer, request.headers.getlist(header) if header else ()

    def _admit(self) -> None:
        trouble = self._delivery.trouble
        if trouble is not None:
            raise RefusedError(503, trouble, retry_after_s=RETRY_AFTER_S)
        self._admit_in_flight(1)

    def _admit_events(self, events: int) -> None:
        """Raise RefusedError if so many events of one body cannot be taken now."""
        if events > self._events_max:
            raise forms.too_many(self._events_max)
        self._admit_in_flight(events)

    def _admit_in_flight(self, events: int) -> None:
        is_full = self._writer.events_in_flight + events > self._ingest.events_in_flight_max
        if is_full and not self._delivery.is_past_kafka:
            raise self._busy()

    async def _body(self, request: Request, encoding: str, held: Held) -> bytes:
        """The body as it is unpacked, in the room that is held for it."""
        bytes_max = self._ingest.body_bytes_max
        sent = await read_body(request, held, bytes_max=bytes_max, timeout_s=self._ingest.body_timeout_s)
        # Bodies whose last bytes came together need not be read together.
        await self._turns.go_on()
        body = await _beside(len(sent) > LOOP_BYTES_MAX, unpack, encoding, sent, bytes_max=bytes_max)
        held.hold(len(body))
        return body

    def _busy(self) -> RefusedError:
        waiting = self._writer.events_in_flight
        return RefusedError(429, f"{waiting} events wait for Kafka; try again soon", retry_after_s=RETRY_AFTER_S)


def _dry_run(request: Request) -> bool:
    """Whether the caller asks for an answer alone. Raises ParameterError.

    A misspelt `dry_run` must not write events that were meant as a test.
    """
    if not request.scope["query_string"]:
        return False
    name = routes.DRY_RUN.name
    check_known(request.query_params, (name, KEY_PARAMETER))
    said = set(request.query_params.getlist(name))
    for value in said - {"true", "false"}:
        raise ParameterError(name, value, f"is {value:.80}, which is neither true nor false; send one of them")
    if len(said) > 1:
        raise ParameterError(name, "true,false", "is both true and false; send it once")
    return said == {"true"}


async def _beside(is_large: bool, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Do what a body needs, in a thread if it is large: the loop serves others while a kernel works."""
    return await asyncio.to_thread(work, *arguments, **named) if is_large else work(*arguments, **named)


def _event_ids(taken: Taken) -> list[Made] | UnsetType:
    # A list in JSON goes into the answer as it is.
    return cast("list[Made]", taken.made) if taken.made else UNSET


def _answer(status: int, result: Result, headers: Mapping[str, str] | None = None) -> Response:
    return json_answer(result, status, headers)
