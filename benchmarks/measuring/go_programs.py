"""Builds the Go programs of the benchmarks into .local. Knows their folders, and not what they do."""

import os
import shutil
import subprocess
from pathlib import Path

from tools.stack.layout import repository

PEERS = repository() / "benchmarks" / "peers"
BUILT = repository() / ".local" / "benchmarks"


class GoError(RuntimeError):
    """A Go program could not be built. The text says what to do."""


def build(name: str) -> Path:
    """Compile benchmarks/peers/NAME, and return the program. Nothing happens if it is built already. Raises GoError."""
    go = shutil.which("go")
    if go is None:
        raise GoError(
            "go is not on the PATH: install Go 1.26 or newer (https://go.dev/dl), or leave out this benchmark"
        )
    BUILT.mkdir(parents=True, exist_ok=True)
    program = BUILT / name
    # The versions and hashes of go.mod and go.sum hold, and Go must not fetch another version of itself.
    own = {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    command = [go, "build", "-trimpath", "-buildvcs=false", "-o", str(program), "."]
    done = subprocess.run(
        command, cwd=PEERS / name, env={**os.environ, **own}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GoError(f"benchmarks/peers/{name} does not build; its modules come from GOPROXY:\n{done.stderr.strip()}")
    return program


def go_version() -> str:
    """What `go version` says, such as go1.26.8; empty without Go."""
    go = shutil.which("go")
    if go is None:
        return ""
    return subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
