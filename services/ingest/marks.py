"""Marks that ingest writes beside the events of a request: the class of the program. Knows no Kafka.

A mark refuses nothing and changes no count. It is the same for all events of a request, save for those that name a user
agent of their own.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import NamedTuple

from schemas.view_records import event_tail
from services.access.caller import Caller
from services.ingest.agents import agent_of

# There are a few classes, rules and projects.
_tail = lru_cache(1024)(event_tail)


class Marked(NamedTuple):
    """The tail of the events of a request, and that of an event with a user agent of its own."""

    tail: bytes
    own_tail: Callable[[str], bytes]


class Marks:
    """Finds the marks of requests."""

    def of(self, caller: Caller, headers: Mapping[str, str]) -> Marked:
        """The marks of a request. The header of a server that sends for viewers says nothing about them."""
        agent = agent_of(headers.get("user-agent", "")) if caller.is_publishable else None
        return Marked(_tail(agent=agent, project=caller.project), partial(_own_tail, caller.project))


def _own_tail(project: str, user_agent: str) -> bytes:
    return _tail(agent=agent_of(user_agent), project=project)
