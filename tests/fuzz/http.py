"""`python -m tests.fuzz.http SERVICE --seconds N --folder FOLDER` fuzzes what a service answers on its ports.

hypothesis makes connections of bytes, and schemathesis makes requests from the service's own description. No answer may
be a 5xx, an answer to a request of the description must be as that says, and memory may not grow.
"""

import argparse
import gzip
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
import schemathesis
from backports import zstd
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fuzz.connections import connections
from tests.fuzz.growth import MIB, Watch, repeat
from tests.fuzz.services import NAMES, Fuzzed, fuzzed
from tests.fuzz.wire import Answer

BASE_URL = "http://localhost"
HEAD_TOO_LARGE = 431
EXAMPLES = 40
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# hypothesis itself keeps some memory of what it has tried.
GROWTH_BYTES_MAX = 48 * MIB
RUNS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


def check_answers(answers: list[Answer]) -> None:
    """No answer says that the service has failed."""
    for answer in answers:
        assert answer.status < 500, f"{answer.status}: {answer.body[:200]!r}"


def of_connections(one: Fuzzed) -> Callable[[], None]:
    """A run that sends bytes."""

    @RUNS
    @given(connections(one.description, one.key))
    def run(packets: list[bytes]) -> None:
        note(f"{one.name}: {packets}")
        check_answers(one.wire.send(*packets))

    return run


def of_description(one: Fuzzed) -> Iterator[Callable[[], None]]:
    """A run for each operation, with requests that are as described, and others."""
    # A stream has no end that could be waited for.
    schema = schemathesis.openapi.from_dict(one.description).exclude(path_regex="/live$")
    for found in schema.get_all_operations():
        # The descriptions are made by this repository, and tests check them.
        operation: Any = found.ok()  # type: ignore[union-attr]
        cases: st.SearchStrategy[Case[Any]] = operation.as_strategy(GenerationMode.POSITIVE)
        if operation.body or len(operation.query) or len(operation.path_parameters):
            cases |= operation.as_strategy(GenerationMode.NEGATIVE)
        yield _of_cases(one, cases)


def _of_cases(one: Fuzzed, cases: st.SearchStrategy[Case[Any]]) -> Callable[[], None]:
    @RUNS
    @given(cases)
    def run(case: Case[Any]) -> None:
        note(one.name)
        sent = requests.Request(**_request(case)).prepare()
        if one.key:
            sent.headers.setdefault("Authorization", f"Bearer {one.key}")
        (answer,) = one.wire.send(packet(sent))
        # Of the server, not of the application.
        if answer.status == HEAD_TOO_LARGE:
            return
        headers = answer.headers
        plain = Response(answer.status, headers, unpacked(answer), sent, 0.0, verify=False)
        case.validate_response(plain, CHECKS)

    return run


def unpacked(answer: Answer) -> bytes:
    """The content as it was before it was packed."""
    (encoding,) = answer.headers.get("content-encoding", ["identity"])
    if not answer.body or encoding == "identity":
        return answer.body
    return {"gzip": gzip.decompress, "zstd": zstd.decompress}[encoding](answer.body)


def _request(case: Case[Any]) -> dict[str, Any]:
    return case.as_transport_kwargs(base_url=BASE_URL)


def packet(sent: requests.PreparedRequest) -> bytes:
    """The request as it lies on the wire."""
    body: Any = sent.body or b""
    content: bytes = body.encode() if isinstance(body, str) else body
    headers = {name: value for name, value in sent.headers.items() if name.lower() not in ("host", "content-length")}
    lines = [f"{sent.method} {sent.path_url} HTTP/1.1", "Host: localhost", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {_text(value)}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + content


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def main(arguments: list[str]) -> None:
    """Fuzz until the time is over. Raises what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", choices=NAMES)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args(arguments)
    with fuzzed(asked.service, asked.folder) as ports:
        runs = [run for one in ports for run in (of_connections(one), *of_description(one))]
        watch = Watch(GROWTH_BYTES_MAX)

        def once() -> None:
            for run in runs:
                run()

        repeat(once, asked.seconds, watch)
        count = sum(one.wire.count for one in ports)
        print(f"{count} connections: memory has grown by {watch.grown_bytes() / MIB:.1f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
