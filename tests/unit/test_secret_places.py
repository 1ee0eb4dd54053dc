"""The search for secrets finds one in each kind of place, or a run that leaks it would pass."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.secret_places import Secret, files_below, places_of

WAIT = "import sys; sys.stdin.read()"


@contextmanager
def waiting(*arguments: str, **variables: str) -> Iterator[None]:
    """A process with these arguments and variables."""
    command = [sys.executable, "-S", "-c", WAIT, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **variables})
    try:
        yield
    finally:
        process.kill()
        process.communicate()


def test_a_secret_is_found_in_files_content_arguments_and_environment(tmp_path: Path) -> None:
    secret = Secret("a key", uuid.uuid4().hex)
    (tmp_path / "a.log").write_text(f"refused {secret.text}")
    (tmp_path / "b.log").write_text("refused ...")
    content = [("an answer", b"x" + secret.octets), ("another", b"x")]
    with waiting(f"--password={secret.text}"), waiting(PASSWORD=secret.text):
        found = places_of([secret], files_below(tmp_path), content)
    assert [line.split(" (")[0] for line in found] == [
        "a key in the arguments",
        "a key in the environment",
        f"a key in the file {tmp_path / 'a.log'}",
        "a key in an answer",
    ]


def test_its_owners_may_have_it_if_nobody_else_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "password"
    text = uuid.uuid4().hex
    path.write_text(text)
    secret = Secret("a password", text, frozenset({path}), lambda command: "--owner" in command)
    path.chmod(0o640)
    assert places_of([secret], files_below(tmp_path), []) == [f"a password in the file {path}"]
    path.chmod(0o600)
    assert places_of([secret], files_below(tmp_path), []) == []
    with waiting("--owner", PASSWORD=text):
        assert places_of([secret], [], []) == []
    with waiting("--owner", text, PASSWORD=text):
        assert [line.split(" (")[0] for line in places_of([secret], [], [])] == ["a password in the arguments"]
