"""The parts of a fuzzing run and how long each runs. Imports nothing that it fuzzes."""

import sys
from pathlib import Path
from typing import NamedTuple

# The names are those of tests.fuzz.decoders.DECODERS, with the shares of the time. What has more forms gets more.
DECODERS = {
    "encodings": 1,
    "json": 3,
    "ndjson": 2,
    "avro": 3,
    "cloud_event": 1,
    "cloud_events": 1,
    "keys": 1,
    "batches": 2,
}
# What a process needs until it begins.
START_S = 3
SECONDS_MIN = 2
# Of the time of a decoder, how much goes to the search for growth.
GROWTH_SHARE = 0.25


class Part(NamedTuple):
    """One process. Its inputs and its log lie in the folder."""

    name: str
    command: tuple[str, ...]
    folder: Path


def parts(seconds: int, folder: Path, only: str = "") -> list[Part]:
    """The parts whose names contain the text, with such shares that all of them take about so many seconds."""
    found = []
    decoders = {name: share for name, share in DECODERS.items() if only in name}
    left = seconds - START_S * 2 * len(decoders)
    for name, share in decoders.items():
        own = max(SECONDS_MIN, left * share / sum(decoders.values()))
        for how, part in (("mutate", 1 - GROWTH_SHARE), ("growth", GROWTH_SHARE)):
            command = _command(f"tests.fuzz.{how}", name, own * part, folder / name)
            found.append(Part(f"{how} {name}", command, folder / name))
    return found


def _command(module: str, name: str, seconds: float, folder: Path) -> tuple[str, ...]:
    allowed = str(max(1, round(seconds)))
    return (sys.executable, "-m", module, name, "--seconds", allowed, "--folder", str(folder))
