"""The parts of a fuzzing run and what share of the time each has. Imports nothing that it fuzzes."""

import sys
from pathlib import Path
from typing import NamedTuple

# The names are those of tests.fuzz.decoders.DECODERS. What has more forms gets more time.
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
# The names are those of tests.fuzz.services.NAMES.
SERVICES = {"ingest": 4, "query": 4}
# What a process needs until it begins.
START_S = 3
# Of the time of a decoder, how much goes to the search for growth.
GROWTH_SHARE = 0.25


class Part(NamedTuple):
    """One process. Its inputs and its log lie in the folder."""

    name: str
    module: str
    subject: str
    folder: Path
    share: float

    def command(self, seconds: int) -> tuple[str, ...]:
        """The command that runs it for so long."""
        python = (sys.executable, "-m", self.module, self.subject)
        return (*python, "--seconds", str(seconds), "--folder", str(self.folder))


def parts(folder: Path, only: str = "") -> list[Part]:
    """The parts of what has this text in its name. A decoder's growth is looked for in what was found before."""
    found = []
    for name, share in DECODERS.items():
        for how, own in (("mutate", 1 - GROWTH_SHARE), ("growth", GROWTH_SHARE)):
            found.append(Part(f"{how} {name}", f"tests.fuzz.{how}", name, folder / name, share * own))
    for name, share in SERVICES.items():
        found.append(Part(f"http {name}", "tests.fuzz.http", name, folder / name, share))
    return [part for part in found if only in part.subject]


def seconds_of(rest: list[Part], left_s: float) -> int:
    """How long the first of these parts runs, if all of them are to end when the time that is left is over.

    It is known only when it begins: a busy machine starts a process in more than START_S.
    """
    share = rest[0].share / sum(part.share for part in rest)
    return max(1, round((left_s - START_S * len(rest)) * share))
