"""Finds the form of an answer that a client wants: its media type by Accept, its encoding by Accept-Encoding. Pure."""

from collections.abc import Sequence
from functools import lru_cache

# Clients have few different headers, and whoever invents others fills no more than this.
CACHED_MAX = 256
ENCODINGS = ("zstd", "gzip")
IDENTITY = ""


@lru_cache(CACHED_MAX)
def media_wanted(accept: str, offered: Sequence[str]) -> str:
    """The one of the types offered that is wanted most: the first of equals, and of all if none is wanted.

    `accept` is the header, "" for none. `offered` is a tuple.
    """
    wanted = _weights(accept)
    if not wanted:
        return offered[0]

    def weight(media: str) -> float:
        # The most special range that fits is the one that counts.
        for one in (media, f"{media.partition('/')[0]}/*", "*/*"):
            if one in wanted:
                return wanted[one]
        return 0.0

    return max(offered, key=weight)


@lru_cache(CACHED_MAX)
def encoding_wanted(accept_encoding: str) -> str:
    """The encoding that is wanted most; zstd of equals, since it takes less time. `IDENTITY` if none is wanted."""
    wanted = _weights(accept_encoding)
    best = max(ENCODINGS, key=lambda one: wanted.get(one, wanted.get("*", 0.0)))
    weight = wanted.get(best, wanted.get("*", 0.0))
    return best if weight > 0 and weight >= wanted.get("identity", 0.0) else IDENTITY


def _weights(header: str) -> dict[str, float]:
    """What the header names, with its weights. What is not well-formed has the weight 0."""
    found: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = (one.strip().lower() for one in part.split(";"))
        if name:
            found[name] = min((_weight(one) for one in parameters if one.startswith("q=")), default=1.0)
    return found


def _weight(parameter: str) -> float:
    try:
        found = float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0
    return found if 0 <= found <= 1 else 0.0
