"""Makes a service's OpenAPI 3.1 description from its table of operations and from the structs of its answers.

A service has one table: an Operation for each path, with its parameters, request bodies and answers. The service makes
its routes from the table, and encodes the structs that the table names, so that description and answers cannot differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import msgspec

from settings.version import VERSION

JSON = "application/json"
TEXT = "text/plain"
CSV = "text/csv"
_REFERENCE = "#/components/schemas/{name}"
A = TypeVar("A")
_RETRY = {"Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}}
LIMITS = {
    "RateLimit-Policy": {
        "description": "The limits of the caller, as draft-ietf-httpapi-ratelimit-headers-11 says.",
        "schema": {"type": "string"},
    },
    "RateLimit": {"description": "How much of each the caller can still send now.", "schema": {"type": "string"}},
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of the path or a header, if its flag says so, else of the query. `schema` is its JSON Schema.

    One that `is_repeated` may be given more than once; its schema is that of an array.
    """

    name: str
    text: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    in_path: bool = False
    in_header: bool = False
    required: bool = False
    is_repeated: bool = False


@dataclass(frozen=True)
class Body:
    """One media type of a request body. `shape` is the type into which JSON is decoded; None for other media types."""

    media: str
    text: str
    shape: type | None = None
    example: Any = None
    is_binary: bool = False


@dataclass(frozen=True)
class Answer(Generic[A]):
    """An answer: JSON of one of the structs `shapes`, or text if there are none. `media` is given for another form.

    With `retry` it has Retry-After. With `limits` it may say how much the caller can still send. `headers` are
    others, as OpenAPI describes them.
    """

    text: str
    shapes: tuple[type[A], ...] = ()
    retry: bool = False
    limits: bool = False
    headers: Mapping[str, Any] = field(default_factory=dict)
    media: str = ""
    has_content: bool = True


NOT_MODIFIED: Answer[Any] = Answer("The client has the newest answer, as If-None-Match says.", has_content=False)


@dataclass(frozen=True)
class Operation(Generic[A]):
    """What a service does for requests of one method and path.

    When all goes well it answers with `status` and `answer`; `refusals` are its other answers, by status. With `rows`,
    the answer is also given as CSV, which shows that list of it, or itself if `rows` is ""; and a GET of it has a tag.
    A struct that has another list names it in a class variable, ROWS.
    """

    path: str
    summary: str
    answer: Answer[A]
    refusals: Mapping[int, Answer[Any]] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = ()
    bodies: tuple[Body, ...] = ()
    description: str = ""
    method: str = "GET"
    status: int = 200
    rows: str | None = None

    @property
    def answers(self) -> dict[int, Answer[Any]]:
        """All answers by status."""
        has_tag = self.rows is not None and self.method == "GET"
        return {
            self.status: self.answer,
            **({304: replace(NOT_MODIFIED, headers=self.answer.headers)} if has_tag else {}),
            **self.refusals,
        }

    @property
    def query_names(self) -> tuple[str, ...]:
        """The names of the parameters that a query may have."""
        return tuple(one.name for one in self.parameters if not one.in_path and not one.in_header)


HEALTHZ: Operation[Any] = Operation("/healthz", "Is the process alive?", Answer("Yes."))


def metrics(summary: str, refusals: Mapping[int, Answer[Any]] | None = None) -> Operation[Any]:
    """The operation GET /metrics."""
    return Operation("/metrics", summary, Answer("Prometheus text format."), refusals or {})


def describe(title: str, text: str, operations: Iterable[Operation[Any]]) -> dict[str, Any]:
    """The OpenAPI document, ready for JSON. It has the operations in their order. Paths must be unique."""
    table = list(operations)
    shapes = list(dict.fromkeys(shape for operation in table for shape in _shapes(operation)))
    references, components = msgspec.json.schema_components(shapes, ref_template=_REFERENCE)
    schemas = dict(zip(shapes, references, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": VERSION, "description": text},
        "paths": {one.path: {one.method.lower(): _operation(one, schemas)} for one in table},
        "components": {"schemas": components},
    }


def _shapes(operation: Operation[Any]) -> list[type]:
    of_bodies = [body.shape for body in operation.bodies if body.shape is not None]
    return [*of_bodies, *(shape for answer in operation.answers.values() for shape in answer.shapes)]


def _operation(operation: Operation[Any], schemas: Mapping[type, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": operation.summary}
    if operation.description:
        found["description"] = operation.description
    if operation.parameters:
        found["parameters"] = [_parameter(one) for one in operation.parameters]
    if operation.bodies:
        content = {body.media: _body(body, schemas) for body in operation.bodies}
        found["requestBody"] = {"required": True, "content": content}
    responses = {str(status): _answer(answer, schemas) for status, answer in operation.answers.items()}
    if operation.rows is not None:
        responses[str(operation.status)]["content"][CSV] = {"schema": {"type": "string"}}
    return {**found, "responses": responses}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    found = {
        "name": parameter.name,
        "in": "path" if parameter.in_path else "header" if parameter.in_header else "query",
        "description": parameter.text,
        "schema": dict(parameter.schema),
    }
    return {**found, "required": True} if parameter.in_path or parameter.required else found


def _body(body: Body, schemas: Mapping[type, dict[str, Any]]) -> dict[str, Any]:
    if body.shape is not None:
        schema = {**schemas[body.shape], "description": body.text}
    else:
        schema = {"type": "string", "description": body.text, **({"format": "binary"} if body.is_binary else {})}
    return {"schema": schema} if body.example is None else {"schema": schema, "example": body.example}


def _answer(answer: Answer[Any], schemas: Mapping[type, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.text}
    headers = {**(_RETRY if answer.retry else {}), **(LIMITS if answer.limits else {}), **answer.headers}
    if headers:
        found["headers"] = headers
    if not answer.has_content:
        return found
    references = [schemas[shape] for shape in answer.shapes]
    if not references:
        return {**found, "content": {answer.media or TEXT: {"schema": {"type": "string"}}}}
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {**found, "content": {answer.media or JSON: {"schema": schema}}}
