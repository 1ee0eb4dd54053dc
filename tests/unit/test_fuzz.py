"""The fuzzing run: every seed and every input that was ever found passes, growth is found, and a finding fails it."""

from pathlib import Path

import pytest
from schemathesis.core.failures import Failure, FailureGroup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.leaving import Life
from services.server import Service
from tests.fuzz import growth
from tests.fuzz.__main__ import Found, main
from tests.fuzz.decoders import DECODERS
from tests.fuzz.growth import MIB, GrowthError, Watch, repeat
from tests.fuzz.http import check_answers, of_description
from tests.fuzz.mutate import INSTRUMENTED
from tests.fuzz.parts import DECODERS as SHARES
from tests.fuzz.parts import SERVICES, START_S, Part, parts
from tests.fuzz.services import NAMES, SERVING, Fuzzed, fuzzed
from tests.fuzz.wire import Answer, Wire
from tools.stack.layout import repository

FOUND = sorted((repository() / "tests" / "fuzz" / "found").glob("*/*"))


def test_what_was_found_is_mended() -> None:
    for path in FOUND:
        DECODERS[path.parent.name].check(path.read_bytes())


@pytest.mark.parametrize("name", DECODERS)
def test_every_seed_passes(name: str) -> None:
    seeds = list(DECODERS[name].seeds())
    assert seeds
    for seed in seeds:
        DECODERS[name].check(seed)
        DECODERS[name].check(seed[: len(seed) // 2])


def test_every_decoder_is_fuzzed_and_its_memory_watched(tmp_path: Path) -> None:
    assert set(SHARES) == set(DECODERS)
    names = [one.name for one in parts(tmp_path)]
    for decoder in DECODERS:
        # Growth is looked for in what was found before.
        assert names.index(f"mutate {decoder}") < names.index(f"growth {decoder}")
    assert [name for name in names if name.startswith("http ")] == [f"http {name}" for name in SERVICES]
    assert tuple(SERVICES) == NAMES


@pytest.mark.parametrize("seconds", [120, 180, 3600])
def test_all_parts_take_as_long_as_was_asked(seconds: int, tmp_path: Path) -> None:
    now = 0.0

    def execute(part: Part, for_s: int) -> Found:
        nonlocal now
        command = part.command(for_s)
        assert command[command.index("--seconds") + 1] == str(for_s)
        # This machine is busy.
        now += for_s + START_S + 1
        return Found(0, "")

    assert main(["--seconds", str(seconds), "--folder", str(tmp_path)], execute, lambda: now) == 0
    assert abs(now - seconds) <= 3


def test_no_module_with_kernels_is_instrumented() -> None:
    """Numba would compile what atheris has made of them, and put it into the cache of all."""
    for package in INSTRUMENTED:
        folder = repository() / package.replace(".", "/")
        for path in folder.rglob("*.py") if folder.is_dir() else ():
            assert "njit" not in path.read_text(encoding="utf-8"), path


def test_memory_that_is_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([100 * MIB, 100 * MIB + 9, 200 * MIB])
    monkeypatch.setattr(growth, "_resident", lambda: next(sizes))
    watch = Watch(16 * MIB)
    watch.warm()
    assert watch.grown_bytes() == 9
    with pytest.raises(GrowthError, match="100 MiB, more than 16 MiB"):
        watch.grown_bytes()


def test_real_memory_that_is_kept_is_found() -> None:
    kept: list[bytes] = []
    with pytest.raises(GrowthError):
        repeat(lambda: kept.append(b"x" * (32 * MIB)), 0, Watch())
    # Given back each time, the same amount is none.
    assert repeat(lambda: b"x" * (32 * MIB), 0, Watch()) >= 2


@pytest.mark.parametrize(("bad", "exit_code"), [("", 0), ("growth avro", 1)])
def test_one_finding_fails_the_run_and_all_parts_run(
    bad: str, exit_code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def execute(one: Part, _seconds: int) -> Found:
        ran.append(one.name)
        return Found(77 if one.name == bad else 0, "…")

    assert main(["--folder", str(tmp_path)], execute) == exit_code
    assert ran == [one.name for one in parts(tmp_path)]
    printed = capsys.readouterr().out
    assert (f"FAILED with 77  {bad}" in printed) == bool(bad)


def failing(error: Exception | None) -> Fuzzed:
    """A service of one path that answers 200 with what is not described, or fails."""

    async def answer(_request: Request) -> Response:
        if error is not None:
            raise error
        return Response(b"1", media_type="application/json")

    schema = {"type": "object"}
    responses = {"200": {"description": "", "content": {"application/json": {"schema": schema}}}}
    description = {
        "openapi": "3.1.0",
        "info": {"title": "", "version": "1"},
        "paths": {"/x": {"get": {"responses": responses}}},
    }
    app = Starlette(routes=[Route("/x", answer)])
    return Fuzzed("failing", Wire(Service(app, app, Life()), SERVING, is_private=False), description, "")


@pytest.mark.parametrize("error", [ValueError("x"), None])
def test_a_service_that_fails_or_answers_otherwise_is_found(error: Exception | None) -> None:
    one = failing(error)
    packets = (b"GET /x HT", b"TP/1.1\r\nHost: localhost\r\n\r\n")
    if error is None:
        assert [answer.status for answer in one.wire.send(*packets)] == [200]
    else:
        with pytest.raises(AssertionError, match="the application failed"):
            one.wire.send(*packets)
    (run,) = of_description(one)
    with pytest.raises((FailureGroup, Failure) if error is None else AssertionError):
        run()
    with pytest.raises(AssertionError, match="503: b'away'"):
        check_answers([Answer(202, {}, b""), Answer(503, {}, b"away")])
    one.wire.close()


@pytest.mark.parametrize("name", NAMES)
def test_services_answer_on_the_wire(name: str, tmp_path: Path) -> None:
    with fuzzed(name, tmp_path) as ports:
        for one in ports:
            get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            found = [*one.wire.send(get + get), *one.wire.send(get.replace(b"GET", b"HEAD"))]
            assert [(answer.status, answer.body) for answer in found] == [(200, b"ok\n"), (200, b"ok\n"), (200, b"")]
            (refused,) = one.wire.send(b"HEAD / HTTP/1.1\r\nContent-Length: -1\r\n\r\n")
            assert refused.status == 400
            if one.key:
                # The connection is lost before the body has come: no error of the service.
                told = f"POST /v1/keys/abcdef HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {one.key}\r\n"
                one.wire.send(f"{told}Content-Length: 9\r\n\r\n{{".encode())
            # A body that does not come.
            one.wire.send(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
            # Streams are left out, since they have no end.
            paths = [path for path in one.description["paths"] if not path.endswith("/live")]
            assert len(list(of_description(one))) >= len(paths)


def test_a_part_of_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "no such part", "--folder", str(tmp_path)], lambda *_: Found(0, ""))


def test_make_fuzz_runs_it() -> None:
    rule = (repository() / "Makefile").read_text(encoding="utf-8").partition("\nfuzz: setup ##")[2].splitlines()
    assert rule[1] == "\t@$(PYTHON) -m tests.fuzz"
