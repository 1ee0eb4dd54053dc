"""Compiled kernels are of the files as they are: what these say is in the key of the cache and of set-up's stamp."""

import ast
import hashlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tools.stack.layout import repository
from udfs.logic.kernels import numba_compat
from udfs.logic.kernels.kernel_sources import FOLDER, OTHERS, kernel_key, kernel_sources

SAID = "compiling the kernels"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the key is made of, with a file in a sub-folder."""
    root = tmp_path / "clone"
    for path in [*kernel_sources(), repository() / "udfs" / "__init__.py"]:
        copy = root / path.relative_to(repository())
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    inner = root / FOLDER / "inner" / "most" / "rules.py"
    inner.parent.mkdir(parents=True)
    inner.write_text("LIMIT = 1\n")
    return root


def test_the_list_has_every_module_of_the_folder_and_those_beside_it() -> None:
    found = {path.relative_to(repository()).as_posix() for path in kernel_sources()}
    assert {f"{FOLDER}/kernels/numba_compat.py", f"{FOLDER}/kernels/kernel_sources.py", *OTHERS} <= found
    there = (repository() / FOLDER).rglob("*.py")
    assert {path.relative_to(repository()).as_posix() for path in there} <= found


@pytest.mark.slow
def test_a_changed_byte_in_any_file_changes_the_key(clone: Path) -> None:
    keys = {kernel_key(clone)}
    sources = kernel_sources(clone)
    assert clone / FOLDER / "inner" / "most" / "rules.py" in sources
    for path in sources:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if content else b"#")
        keys.add(kernel_key(clone))
        path.write_bytes(content)
    assert len(keys) == 1 + len(sources)
    assert kernel_key(clone) in keys


def test_a_new_a_renamed_and_a_removed_file_change_the_key(clone: Path) -> None:
    keys = [kernel_key(clone)]
    new = clone / FOLDER / "inner" / "table.bin"
    new.write_bytes(b"")
    keys.append(kernel_key(clone))
    new.rename(new.with_name("other.bin"))
    keys.append(kernel_key(clone))
    (clone / FOLDER / "stream" / "window.py").unlink()
    keys.append(kernel_key(clone))
    assert len(set(keys)) == len(keys)


def test_a_byte_that_moves_to_the_next_file_changes_the_key(clone: Path) -> None:
    first, second = clone / FOLDER / "inner" / "a.py", clone / FOLDER / "inner" / "b.py"
    first.write_bytes(b"xy")
    second.write_bytes(b"z")
    before = kernel_key(clone)
    first.write_bytes(b"x")
    second.write_bytes(b"yz")
    assert kernel_key(clone) != before


def test_what_python_numba_and_editors_leave_there_does_not_count(clone: Path) -> None:
    before = kernel_key(clone)
    for name in ("__pycache__/window.cpython-311.pyc", "inner/__pycache__/kernel.nbi", ".window.py.swp"):
        left = clone / FOLDER / name
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"left")
    assert kernel_key(clone) == before


def test_numbas_cache_goes_by_the_key() -> None:
    assert Path(numba_compat.config.CACHE_DIR).name == f"kernels-{kernel_key()[:16]}"


def test_and_so_it_does_when_a_variable_of_numbas_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As whatever makes its process a client of a stack does."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/nowhere")
    numba_compat.config.reload_config()
    assert Path(numba_compat.config.CACHE_DIR).name == f"kernels-{kernel_key()[:16]}"


@cache
def global_names(path: Path) -> tuple[dict[str, str], set[str]]:
    """(module of ours by the name that comes from it, directly or by a constant made of it; names that kernels use)."""
    body = ast.parse(path.read_text()).body
    origins: dict[str, str] = {}
    used: set[str] = set()

    def names(node: ast.AST) -> set[str]:
        return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}

    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module:
            package = node.module.split(".")[0]
            within = repository() / (node.module.replace(".", "/") + ".py")
            passed_on = global_names(within)[0] if package == "udfs" and within.is_file() else {}
            for alias in node.names:
                if package in {"settings", "schemas"}:
                    origins[alias.asname or alias.name] = node.module
                elif alias.name in passed_on:
                    origins[alias.asname or alias.name] = passed_on[alias.name]
        elif isinstance(node, ast.Assign):
            for source in names(node.value) & set(origins):
                origins |= {name: origins[source] for target in node.targets for name in names(target)}
        elif isinstance(node, ast.FunctionDef) and any(names(each) & {"njit", "leaf"} for each in node.decorator_list):
            used |= names(node)
    return origins, used


def test_kernels_take_constants_from_no_file_that_the_list_lacks() -> None:
    found = set()
    for path in (repository() / FOLDER).rglob("*.py"):
        origins, used = global_names(path)
        found |= {origins[name].replace(".", "/") + ".py" for name in used & set(origins)}
    assert found == set(OTHERS)


@pytest.mark.slow
def test_set_up_compiles_again_whenever_the_key_changes(clone: Path) -> None:
    """bin/setup itself, in a clone that has everything else; only what compiles is left out."""
    stamps = clone / ".local" / "stamps"
    stamps.mkdir(parents=True)
    for name in ("bin/setup", "requirements.lock", "pyproject.toml", "pom.xml"):
        (clone / name).parent.mkdir(exist_ok=True)
        shutil.copy(repository() / name, clone / name)

    def hash_of(name: str) -> str:
        return hashlib.sha256((clone / name).read_bytes()).hexdigest()

    (stamps / "venv").write_text(hash_of("requirements.lock"))
    (stamps / "project").write_text(f"{clone} {hash_of('pyproject.toml')}")
    (stamps / "jars").write_text(hash_of("pom.xml"))
    python = clone / ".local" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ncase "$*" in *warm_up) exit 0 ;; esac\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)

    def compiles() -> bool:
        finished = subprocess.run([clone / "bin" / "setup"], capture_output=True, text=True, check=True, timeout=60)
        return SAID in finished.stdout

    assert [compiles(), compiles()] == [True, False]
    for name in ("inner/most/rules.py", "window.py"):
        (clone / FOLDER / name).write_text("LIMIT = 2\n")
        assert [compiles(), compiles()] == [True, False], name
    for name in OTHERS:
        (clone / name).write_text("LIMIT = 2\n")
        assert [compiles(), compiles()] == [True, False], name
