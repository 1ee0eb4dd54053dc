"""Says what kind of program a user agent is: a browser, a bot, or unknown. Pure; knows no HTTP.

The text is a stranger's. So only its first bytes are read, RE2 reads them in linear time, and what was found is kept
for a bounded number of texts. A program that calls itself a browser is one here: the class is what a client says of
itself.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

import crawleruseragents
import re2

# How much of a text is read. Those of browsers have about 150 bytes.
AGENT_BYTES_MAX = 512
# With a text of the greatest length, an entry has less than 1 KiB.
KEPT_MAX = 4096
# RE2 builds its automaton while it reads, within this bound, and begins anew when it is full.
_AUTOMATON_BYTES_MAX = 16 << 20


class Agent(StrEnum):
    """The class of a user agent."""

    BROWSER = "browser"
    BOT = "bot"
    UNKNOWN = "unknown"


def agent_of(user_agent: str) -> Agent:
    """The class of this text; unknown for an empty one, and for programs that are on no list."""
    # A character has at least one byte, so that no more of a long text is encoded than is needed.
    return _agent(user_agent[:AGENT_BYTES_MAX].encode(errors="replace")[:AGENT_BYTES_MAX])


def _compiled(patterns: Iterable[str]) -> re.Pattern[bytes]:
    options = re2.Options()
    options.max_mem = _AUTOMATON_BYTES_MAX
    options.log_errors = False
    # Who matches is not asked.
    options.never_capture = True
    joined: re.Pattern[bytes] = re2.compile("|".join(f"(?:{pattern})" for pattern in patterns).encode(), options)
    return joined


_BOTS = _compiled(entry["pattern"] for entry in crawleruseragents.CRAWLER_USER_AGENTS_DATA)
# All browsers in use begin so, for the sake of sites that look for it.
_BROWSERS = (b"Mozilla/5.0 (", b"Opera/9.")


@lru_cache(KEPT_MAX)
def _agent(text: bytes) -> Agent:
    if _BOTS.search(text) is not None:
        return Agent.BOT
    return Agent.BROWSER if text.startswith(_BROWSERS) else Agent.UNKNOWN
