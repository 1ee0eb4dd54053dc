"""Writes the reference of the HTTP API as Markdown: `.local/venv/bin/python docs/make_api.py FOLDER`.

It asks each service's application for its `/openapi.json`, as a client would, and knows nothing of how that description
is made. It needs no server, no Kafka and no Cassandra.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from services.ingest.app import build_service as build_ingest
from services.query.app import build_service as build_query
from settings import Settings

SERVICES: dict[str, Callable[[Settings], Any]] = {"ingest": build_ingest, "query": build_query}
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
# Keywords of JSON Schema that limit a value, as a reader would say them.
LIMITS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("pattern", "matches `{}`"),
)
Schema = dict[str, Any]


def described(app: Any) -> Schema:
    """What an ASGI application answers to GET /openapi.json. Raises RuntimeError unless it answers 200."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    path = "/openapi.json"
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http"}
    scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": []}
    asyncio.run(app(scope, receive, send))
    status = sent[0]["status"]
    if status != 200:
        raise RuntimeError(f"GET {path} was answered by {status}, not by 200: the page cannot be made")
    found: Schema = json.loads(b"".join(message.get("body", b"") for message in sent[1:]))
    return found


class Reference:
    """The page of one OpenAPI 3.1 description."""

    def __init__(self, description: Schema) -> None:
        self._description = description

    def page(self, file: str) -> str:
        """The page in Markdown, with a link to the description, which lies beside it as `file`."""
        return "\n".join(self._lines(file)) + "\n"

    def _lines(self, file: str) -> Iterator[str]:
        info = self._description["info"]
        yield f"# {_prose(info['title'])}\n\n{_prose(info.get('description', ''))}\n"
        yield f"This page is made from the service's own [OpenAPI description]({file}).\n"
        for path, item in self._description["paths"].items():
            for method in METHODS:
                if method in item:
                    yield f"## `{method.upper()} {path}`\n"
                    yield from self._operation({"parameters": item.get("parameters", []), **item[method]})

    def _operation(self, operation: Schema) -> Iterator[str]:
        for text in ("summary", "description"):
            if operation.get(text):
                yield f"{_prose(operation[text])}\n"
        parameters = [self._resolved(one) for one in operation["parameters"]]
        if parameters:
            rows = [
                (f"`{one['name']}`", one["in"], *self._kind_and_need(one), _meaning(one, self._resolved(one["schema"])))
                for one in parameters
            ]
            yield from _table(("parameter", "in", "type", "required", "meaning"), rows)
        for media, content in self._resolved(operation.get("requestBody", {})).get("content", {}).items():
            yield f"**Body, `{media}`**\n"
            yield from self._content(content)
        for code, found in operation["responses"].items():
            answer = self._resolved(found)
            yield f"**Answer {code}**: {_prose(answer.get('description', ''))}\n"
            for content in answer.get("content", {}).values():
                yield from self._content(content)

    def _content(self, content: Schema) -> Iterator[str]:
        schema = self._resolved(content.get("schema", {}))
        if schema.get("description"):
            yield f"{_prose(schema['description'])}\n"
        rows = list(self._fields(schema, "", ()))
        if rows:
            yield from _table(("field", "type", "required", "meaning"), rows)
        if "example" in content:
            yield f"```json\n{json.dumps(content['example'], indent=1, ensure_ascii=False)}\n```\n"

    def _kind_and_need(self, parameter: Schema) -> tuple[str, str]:
        return self._kind(parameter.get("schema", {})), _yes(parameter.get("required", False))

    def _fields(self, schema: Schema, prefix: str, above: tuple[int, ...]) -> Iterator[tuple[str, ...]]:
        """Rows of (name, type, required, meaning); a nested field's name holds those above it, a list's `[]`."""
        shape = self._resolved(schema)
        if id(shape) in above:  # A structure that holds itself is shown once.
            return
        within = (*above, id(shape))
        for part in (*shape.get("allOf", ()), *shape.get("anyOf", ()), *shape.get("oneOf", ())):
            yield from self._fields(part, prefix, within)
        if "items" in shape:
            yield from self._fields(shape["items"], f"{prefix}[]", within)
        needed = set(shape.get("required", ()))
        for name, field in shape.get("properties", {}).items():
            path = f"{prefix}.{name}" if prefix else name
            found = self._resolved(field)
            yield f"`{path}`", self._kind(field), _yes(name in needed), _meaning(field, found)
            yield from self._fields(field, path, within)
        if isinstance(shape.get("additionalProperties"), dict):
            yield from self._fields(shape["additionalProperties"], f"{prefix}.*" if prefix else "*", within)

    def _kind(self, schema: Schema) -> str:
        shape = self._resolved(schema)
        for choice in ("anyOf", "oneOf"):
            if choice in shape:
                return " or ".join(dict.fromkeys(self._kind(one) for one in shape[choice]))
        kind = shape.get("type", "any")
        kinds = [kind] if isinstance(kind, str) else kind
        words = [self._list_of(shape) if one == "array" else one for one in kinds]
        return " or ".join(words) + (f" ({shape['format']})" if "format" in shape else "")

    def _list_of(self, shape: Schema) -> str:
        return f"list of {self._kind(shape['items'])}" if "items" in shape else "list"

    def _resolved(self, schema: Schema) -> Schema:
        """The schema itself, or the one of this description that its `$ref` names."""
        while "$ref" in schema:
            found: Any = self._description
            for step in schema["$ref"].removeprefix("#/").split("/"):
                found = found[step.replace("~1", "/").replace("~0", "~")]
            schema = found
        return schema


def _meaning(field: Schema, shape: Schema) -> str:
    """What is said of a field, its limits, its default."""
    rules = {**shape, **shape.get("schema", {}), **field, **field.get("schema", {})}
    found = [field.get("description") or shape.get("description") or ""]
    if "enum" in rules:
        found.append("One of " + ", ".join(f"`{json.dumps(one)}`" for one in rules["enum"]) + ".")
    found += [text.format(rules[name]).capitalize() + "." for name, text in LIMITS if name in rules]
    if rules.get("default") is not None:
        found.append(f"Default: `{json.dumps(rules['default'])}`.")
    return " ".join(_prose(text) for text in found if text)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
    yield ""


def _prose(text: str) -> str:
    """Text that Markdown shows as it is: a description may hold what looks like a tag or a link."""
    return text.replace("<", "&lt;").replace("[", "\\[")


def _yes(value: bool) -> str:
    return "yes" if value else ""


def main(folder: Path) -> None:
    """Writes a page and a description for each service."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in SERVICES.items():
        description = described(build(Settings()).public)
        file = f"{name}.openapi.json"
        (folder / file).write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / f"api-{name}.md").write_text(Reference(description).page(file), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_api.py FOLDER")
    main(Path(sys.argv[1]))
