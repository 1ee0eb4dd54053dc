"""The fuzzing run: every seed and every input that was ever found passes, growth is found, and a finding fails it."""

from pathlib import Path

import pytest

from tests.fuzz import growth
from tests.fuzz.__main__ import Found, main
from tests.fuzz.decoders import DECODERS
from tests.fuzz.growth import MIB, GrowthError, Watch, repeat
from tests.fuzz.mutate import INSTRUMENTED
from tests.fuzz.parts import DECODERS as SHARES
from tests.fuzz.parts import START_S, Part, parts
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
    names = [one.name for one in parts(180, tmp_path)]
    for decoder in DECODERS:
        # Growth is looked for in what was found before.
        assert names.index(f"mutate {decoder}") < names.index(f"growth {decoder}")


@pytest.mark.parametrize("seconds", [120, 180, 3600])
def test_all_parts_take_as_long_as_was_asked(seconds: int, tmp_path: Path) -> None:
    found = parts(seconds, tmp_path)
    asked = sum(int(one.command[one.command.index("--seconds") + 1]) for one in found)
    assert abs(asked + START_S * len(found) - seconds) <= len(found)


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

    def execute(one: Part, _folder: Path) -> Found:
        ran.append(one.name)
        return Found(one.name, 77 if one.name == bad else 0, "…")

    assert main(["--folder", str(tmp_path)], execute) == exit_code
    assert ran == [one.name for one in parts(180, tmp_path)]
    printed = capsys.readouterr().out
    assert (f"FAILED with 77  {bad}" in printed) == bool(bad)


def test_a_part_of_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "no such part", "--folder", str(tmp_path)], lambda *_: Found("", 0, ""))


def test_make_fuzz_runs_it() -> None:
    rule = (repository() / "Makefile").read_text(encoding="utf-8").partition("\nfuzz: setup ##")[2].splitlines()
    assert rule[1] == "\t@$(PYTHON) -m tests.fuzz"
