"""Finds the address of a client behind proxies. Pure; knows no HTTP library.

A proxy adds the address that it sees to the end of a header such as X-Forwarded-For. What stands before that was sent
by whoever is there, and may be invented. So the list is read from its end, only through proxies that are trusted, and
only as many of them as there are.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# A client in an IPv6 network usually has all addresses of a /64.
IPV6_PREFIX = 64


def networks(text: str) -> tuple[Network, ...]:
    """Networks or addresses separated by commas. Raises ValueError, which names the one that is wrong."""
    return tuple(ip_network(one.strip()) for one in text.split(",") if one.strip())


def client_address(
    peer: str | None, forwarded: Sequence[str], *, trusted: Sequence[Network], count: int
) -> Address | None:
    """The address of the client.

    `peer` is who has connected; None or a name that is no address gives None. `forwarded` are the values of the header,
    one for each line that was sent. `trusted` are the networks of the proxies, and `count` says how many proxies a
    request passes. An entry that is no address ends the search: the proxy that sent it counts as the client then.
    """
    found = _address(peer or "")
    entries = _entries(forwarded)
    for _ in range(count):
        if found is None or not entries or not _is_in(found, trusted):
            break
        before = _address(entries.pop())
        if before is None:
            break
        found = before
    return found


def is_through_proxies(peer: str | None, forwarded: Sequence[str], *, trusted: Sequence[Network], count: int) -> bool:
    """Whether a request has passed as many proxies as there are, all of them trusted; see `client_address`.

    Only then a header that the outermost proxy sets is its own, and not that of a client who has gone around it.
    """
    inner = _entries(forwarded)[::-1][: max(0, count - 1)]
    proxies = [_address(one) for one in (peer or "", *inner)]
    return 0 < count == len(proxies) and all(one is not None and _is_in(one, trusted) for one in proxies)


def bucket_of(address: Address) -> str:
    """The name of the network that shares one limit: an IPv4 address, or the /64 of an IPv6 address."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX), IPV6_PREFIX)))


def _entries(forwarded: Sequence[str]) -> list[str]:
    return [entry for value in forwarded for entry in value.split(",")]


def _is_in(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in trusted)


def _address(text: str) -> Address | None:
    """An address, also with a port, in brackets, with a zone, or of IPv4 written as IPv6."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
