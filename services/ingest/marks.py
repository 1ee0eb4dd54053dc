"""What ingest knows of the events of a request beside their fields: class of program, exclusion, country.

The first two are marks: they refuse nothing and change no count. All are the same for the events of a request, save for
events that name a user agent or a country of their own. The address of the client is used here and kept nowhere.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple, Protocol

from schemas.view_records import event_tail
from services.access.caller import Caller
from services.access.client_address import client_address, is_through_proxies, networks
from services.ingest.agents import agent_of
from services.ingest.exclusions import Exclusions
from settings import Settings

# What CDNs send where they know no country. ISO 3166 gives these two to nobody; T1, for Tor, is no text of two letters.
NO_COUNTRIES = frozenset({"XX", "ZZ"})

# There are a few classes, rules and projects.
_tail = lru_cache(1024)(event_tail)


class Headers(Protocol):
    """The headers of a request, by names in any case."""

    def getlist(self, key: str) -> list[str]:
        """The values of one header, in the order in which they were sent."""
        ...


class Marked(NamedTuple):
    """The tail of the events of a request, that of an event with a user agent of its own, and the country."""

    tail: bytes
    own_tail: Callable[[str], bytes]
    country: str | None


class Marks:
    """Finds the marks of requests."""

    def __init__(self, settings: Settings, exclusions: Exclusions) -> None:
        self._exclusions = exclusions
        self._country_header = settings.ingest.country_header
        self._trusted = networks(settings.access.trusted_proxies)
        self._proxies = settings.access.trusted_proxies_count

    def of(self, caller: Caller, headers: Headers, peer: str | None, forwarded: Sequence[str]) -> Marked:
        """The marks of a request.

        Behind a secret key, the sender is a server: its program and its country say nothing about viewers.
        """
        exclusion = self._exclusion(peer, forwarded)
        agent = country = None
        if caller.is_publishable:
            agent = agent_of(next(iter(headers.getlist("user-agent")), ""))
            country = self._country(headers, peer, forwarded)
        tail = _tail(agent=agent, exclusion=exclusion, project=caller.project)
        return Marked(tail, partial(_own_tail, exclusion, caller.project), country)

    def _exclusion(self, peer: str | None, forwarded: Sequence[str]) -> str | None:
        if self._exclusions.is_empty:
            return None
        address = client_address(peer, forwarded, trusted=self._trusted, count=self._proxies)
        return None if address is None else self._exclusions.rule_of(address)

    def _country(self, headers: Headers, peer: str | None, forwarded: Sequence[str]) -> str | None:
        if not self._country_header:
            return None
        if not is_through_proxies(peer, forwarded, trusted=self._trusted, count=self._proxies):
            return None
        values = headers.getlist(self._country_header)
        # With two of them, one was sent by the client.
        return country_of(values[0]) if len(values) == 1 else None


def country_of(value: str) -> str | None:
    """The country in the value of a CDN's header; None if it names none."""
    text = value.strip()
    # Before upper(), which makes two letters of some single ones.
    if len(text) != 2 or not text.isascii() or not text.isalpha():
        return None
    country = text.upper()
    return None if country in NO_COUNTRIES else country


def _own_tail(exclusion: str | None, project: str, user_agent: str) -> bytes:
    return _tail(agent=agent_of(user_agent), exclusion=exclusion, project=project)
