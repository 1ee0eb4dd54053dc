"""The one way from a request to an answer: who asks, what, and whether they may; the endpoint; the form."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from msgspec import Struct
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.access.access import KEY_PARAMETER, READERS, TOTAL_READERS, Access
from services.access.caller import Caller
from services.bodies import declared_bytes, read_body
from services.openapi import JSON, Operation
from services.query.api.allowed import check_channels, check_names
from services.query.api.budget import Budget, Purse
from services.query.api.endpoints.asked import Asked
from services.query.api.held_answers import HeldAnswer, HeldAnswers, form_of
from services.query.api.last_answers import LastAnswers
from services.query.api.live.event_stream import EventStream, MayStay
from services.query.api.parameters.batch import BODY_BYTES_MAX
from services.query.api.public import picture
from services.query.api.question import Question, QuestionForm
from services.query.api.refusing import refuse
from services.query.api.shown import Wanted, shown
from services.query.counts.last_known import LastKnown
from services.query.titles.following import Following
from services.refused import RefusedError
from services.room import Room

A = TypeVar("A", bound=Struct)
# Of all bodies that are in memory together.
BODIES_BYTES_MAX = 16 << 20
SERVER_ERRORS = 500
BODY_TIMEOUT_S = 10.0


class _Name(Convertor[str]):
    """Accepts everything that a name may contain: slashes, and line breaks, which no other convertor accepts."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


class Answering:
    """Makes the routes of questions. It knows the callers, and what every answer says besides.

    `following` knows of which channel a video is, for keys that are held to channels.
    """

    def __init__(self, access: Access, asked: Asked, budget: Budget, following: Following | None) -> None:
        self._budget = budget
        self._following = following
        self._asked = asked
        self._access = access
        self._room = Room(BODIES_BYTES_MAX)
        query = asked.settings.query
        last = LastKnown(query.last_known_bytes_max, timedelta(seconds=query.last_known_s))
        self._last = LastAnswers(last, asked.now)
        self._held = HeldAnswers(query.held_share_bytes)

    def route(
        self,
        operation: Operation[A],
        answer: Callable[[Question], Awaitable[A]],
        scopes: frozenset[str] = READERS,
    ) -> Route:
        """The route of an operation. `answer` makes the struct that is answered; whatever it raises is a problem."""
        return Route(path_of(operation), self.endpoint(operation, answer, scopes), methods=[operation.method])

    def endpoint(
        self,
        operation: Operation[A],
        answer: Callable[[Question], Awaitable[A]],
        scopes: frozenset[str] = READERS,
    ) -> Callable[[Request], Awaitable[Response]]:
        """What answers requests for an operation."""
        questions = QuestionForm(operation, (KEY_PARAMETER,))
        if operation.rows is None:
            raise ValueError(f"{operation.path} does not say which of its lists CSV shows; give it `rows`")
        rows = operation.rows

        async def endpoint(request: Request) -> Response:
            try:
                caller = self._access.caller(request, scopes)
                wanted = _wanted(request)
                asked = request.scope["raw_path"], request.scope["query_string"]
                form = None if operation.bodies else form_of(asked, wanted, caller)
                held = None if form is None else self._held.get(form)
                question = None if held is not None else self._question(caller, asked, operation, questions)
                if question is not None and operation.bodies:
                    # Before it counts as under way: clients that send slowly must not fill the process.
                    question.body = await self._body(request)
                with self._purse(request, caller, question) as purse:
                    await purse.begin()
                    of_age: Mapping[str, str] = {}
                    if question is not None:
                        found, of_age = await self._last.answer(operation.path, question, answer)
                        one = await shown(
                            found,
                            getattr(found, "ROWS", rows),
                            wanted,
                            question=b"%b?%b" % asked,
                            span=question.span,
                            is_public=caller.is_publishable,
                            status=operation.status,
                        )
                        held = HeldAnswer(one, question.span, question.until_s)
                        # What is given since a store does not answer is given as long as it does not.
                        if form is not None and not of_age:
                            self._held.put(form, held)
                assert held is not None
                # What everybody may keep says nothing of one client's limits.
                limits = {} if caller.is_publishable else purse.headers
                headers = {**held.shown.headers, **limits, **self._asked.of_trust(held.span), **of_age}
                return Response(held.shown.body, held.shown.status, headers)
            except Exception as error:
                # Here, and not by Starlette: it would answer a failure outside of CORS, so that no page could read it.
                return await refuse(request, error)

        return endpoint

    def stream_route(
        self, operation: Operation[Any], answer: Callable[[Question, str, MayStay], Awaitable[EventStream]]
    ) -> Route:
        """The route of a stream. Who listens is looked at again and again: a stream must not outlive its key.

        `answer` is given the id of the last event that the client has, too.
        """
        form = QuestionForm(operation, (KEY_PARAMETER,))

        async def endpoint(request: Request) -> Response:
            def may_stay() -> bool:
                try:
                    self.ask(request, operation, form)
                except RefusedError as error:
                    # What is not known now may be known again soon.
                    return error.status >= SERVER_ERRORS
                return True

            try:
                question = self.ask(request, operation, form)
                with self._purse(request, question.caller, question) as purse:
                    await purse.begin()
                    return await answer(question, request.headers.get("last-event-id", ""), may_stay)
            except Exception as error:
                return await refuse(request, error)

        return Route(path_of(operation), endpoint, methods=[operation.method])

    def picture_route(self, operation: Operation[Any], draw: Callable[[Question], Awaitable[bytes]]) -> Route:
        """The route of a picture of a total, which pages of others show."""
        form = QuestionForm(operation, (KEY_PARAMETER,))

        async def endpoint(request: Request) -> Response:
            try:
                question = self.ask(request, operation, form, TOTAL_READERS, is_of_picture=True)
                with self._purse(request, question.caller, question) as purse:
                    await purse.begin()
                    return picture(await draw(question), question.caller)
            except Exception as error:
                return await refuse(request, error)

        return Route(path_of(operation), endpoint, methods=[operation.method])

    @contextmanager
    def _purse(self, request: Request, caller: Caller, question: Question | None) -> Iterator[Purse]:
        header = self._budget.address_header
        forwarded = request.headers.getlist(header) if header else ()
        with self._budget.question(caller, request.client and request.client.host, forwarded) as purse:
            if question is not None:
                question.give(purse)
            yield purse

    def ask(
        self,
        request: Request,
        operation: Operation[Any],
        form: QuestionForm,
        scopes: frozenset[str] = READERS,
        *,
        is_of_picture: bool = False,
    ) -> Question:
        """The question of a request whose caller may ask it. Raises RefusedError for all others."""
        caller = self._access.caller(request, scopes, is_of_picture=is_of_picture)
        return self._question(caller, (request.scope["raw_path"], request.scope["query_string"]), operation, form)

    def _question(
        self, caller: Caller, asked: tuple[bytes, bytes], operation: Operation[Any], form: QuestionForm
    ) -> Question:
        question = form.read(caller, *asked)
        if not operation.bodies:
            # Otherwise the names are in the body, and whoever reads it checks them.
            check_names(question, next((one for one in operation.parameters if one.name == "kind"), None))
            named = question.path_params
            check_channels(
                caller,
                self._following,
                video_ids=[named["video_id"]] if "video_id" in named else (),
                channel_ids=[
                    *([named["channel_id"]] if "channel_id" in named else ()),
                    *question.query_params.all("channel"),
                ],
            )
        return question

    async def _body(self, request: Request) -> bytes:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != JSON:
            raise RefusedError(415, f"Content-Type {media or 'is missing'}: send {JSON}")
        declared_bytes(request.headers, bytes_max=BODY_BYTES_MAX)
        with self._room.request() as held:
            return await read_body(request, held, bytes_max=BODY_BYTES_MAX, timeout_s=BODY_TIMEOUT_S)


def _wanted(request: Request) -> Wanted:
    def of(name: str) -> str:
        return ", ".join(request.headers.getlist(name))

    return Wanted(of("accept"), of("accept-encoding"), of("if-none-match"), request.method in ("GET", "HEAD"))


def path_of(operation: Operation[Any]) -> str:
    """The path of an operation as Starlette writes it."""
    return re.sub(r"\{(\w+)\}", r"{\1:name}", operation.path)
