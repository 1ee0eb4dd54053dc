"""docs/private-apis.md names every use of what is not public, and nothing that is no longer there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "private-apis.md").read_text(encoding="utf-8")
PRODUCT = ("settings", "schemas", "udfs", "connectors", "services", "jobs", "tools", "benchmarks")
# (file, what is used, why, tests) of every row.
ROWS = [
    tuple(cell.strip() for cell in row)
    for row in re.findall(r"^\| (`.*?) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
]
# What shows that a line uses what is not public; `SLF001` is ruff's rule against it.
SIGNS = re.compile(r"SLF001|\bget_gateway\(\)|\b_nrt=|\bnumba\.core\b|\bllvmlite\b|\._statements_and_parameters\b")


def spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_use_is_named() -> None:
    users = {
        str(path.relative_to(ROOT))
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        if SIGNS.search(path.read_text(encoding="utf-8"))
    }
    assert users
    assert users - {spans(file)[0] for file, *_ in ROWS} == set()


def test_every_attribute_that_the_linter_was_silenced_for_is_named() -> None:
    for package in PRODUCT:
        for path in (ROOT / package).rglob("*.py"):
            file = str(path.relative_to(ROOT))
            named = " ".join(used for name, used, *_ in ROWS if spans(name) == [file])
            for line in path.read_text(encoding="utf-8").splitlines():
                if "SLF001" in line:
                    private = re.findall(r"(?<!\bself)\.(_[A-Za-z]\w*)", line.split("#", maxsplit=1)[0])
                    assert private, f"{file}: no private attribute in: {line}"
                    assert all(name in named for name in private), f"{file}: {private} is not on the page"


@pytest.mark.parametrize(("file", "used", "why", "tests"), ROWS)
def test_every_row_is_true(file: str, used: str, why: str, tests: str) -> None:
    (name,) = spans(file)
    code = (ROOT / name).read_text(encoding="utf-8")
    assert spans(used)
    for span in spans(used):
        assert all(part in code for part in span.split(".")), f"{name} does not use {span}"
    assert why
    for test in spans(tests):
        assert test.startswith("make ") or (ROOT / test).is_file(), f"{test} does not exist"
