"""The file of exclusions: networks whose views are marked, each with the name of a rule and its reason. Pure.

The name is written with each event that a rule marks, so that whoever counts again can leave these views out, or take
the rule back. An address is written nowhere.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Annotated

import msgspec
from msgspec import Meta

NAME_BYTES_MAX = 64
REASON_LENGTH_MAX = 200
RULES_MAX = 10_000
# An IPv4 address that is written as one of IPv6 is taken for what it is.
_MAPPED = IPv6Network("::ffff:0:0/96")


class ExclusionsError(ValueError):
    """The file of exclusions is refused. The text says where and why."""


class Exclusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule. Several networks may have the same name."""

    name: Annotated[str, Meta(pattern=rf"^[a-z0-9][a-z0-9_.-]{{0,{NAME_BYTES_MAX - 1}}}\Z")]
    cidr: str
    reason: Annotated[str, Meta(min_length=1, max_length=REASON_LENGTH_MAX)]


class Networks:
    """Finds the rule of an address in as many steps as rules have lengths of prefixes."""

    def __init__(self, exclusions: Iterable[Exclusion] = ()) -> None:
        """Raises ExclusionsError for a network that is none, or that two rules name."""
        self._names: dict[int, dict[int, dict[int, str]]] = {4: {}, 6: {}}
        for index, rule in enumerate(exclusions):
            self._add(index, rule)
        for version, by_length in self._names.items():
            self._names[version] = dict(sorted(by_length.items(), reverse=True))

    def __len__(self) -> int:
        return sum(len(of_length) for by_length in self._names.values() for of_length in by_length.values())

    def rule_of(self, address: IPv4Address | IPv6Address) -> str | None:
        """The name of the rule with the smallest network that has this address; None if there is none."""
        number, bits = int(address), address.max_prefixlen
        for length, names in self._names[address.version].items():
            name = names.get(number >> (bits - length))
            if name is not None:
                return name
        return None

    def _add(self, index: int, rule: Exclusion) -> None:
        place = f"rule {index} ({rule.name})"
        try:
            network = ip_network(rule.cidr)
        except ValueError as error:
            raise ExclusionsError(f"{place}: cidr={rule.cidr:.80}: {error}; name a network as 10.0.0.0/8") from None
        if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
            raise ExclusionsError(f"{place}: cidr={rule.cidr:.80} is of IPv4 addresses; write them as such")
        names = self._names[network.version].setdefault(network.prefixlen, {})
        key = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
        if key in names:
            raise ExclusionsError(f"{place}: cidr={rule.cidr} is also that of {names[key]}; leave one of them out")
        names[key] = rule.name


def decode(content: bytes) -> Networks:
    """The rules of a file: a list in JSON. Raises ExclusionsError."""
    try:
        rules: Sequence[Exclusion] = msgspec.json.decode(content, type=list[Exclusion])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExclusionsError(f"{error}; it is a list of rules with name, cidr and reason, in JSON") from None
    if len(rules) > RULES_MAX:
        raise ExclusionsError(f"has {len(rules)} rules, more than {RULES_MAX}; join neighbouring networks")
    return Networks(rules)
