"""The file of exclusions: which rule an address meets, what is refused, and what happens when the file changes."""

import asyncio
import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from schemas.exclusions import ExclusionsError, decode
from services.ingest.exclusions import Exclusions

GAUGE = "view_counts_ingest_exclusions_unreadable"


def rule(cidr: str, name: str = "office", reason: str = "our own staff") -> dict[str, Any]:
    return {"name": name, "cidr": cidr, "reason": reason}


def content(*rules: dict[str, Any]) -> bytes:
    return json.dumps(rules).encode()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.0", "office"),
        ("192.0.2.255", "office"),
        ("192.0.3.0", None),
        # The smallest network that has the address.
        ("192.0.2.7", "probe"),
        ("2001:db8:1::1", "office"),
        ("2001:db8:2::1", None),
        # The same bits as a network of the other version.
        ("c000:0207::", None),
        ("0.0.0.0", None),
    ],
)
def test_an_address_meets_the_smallest_network_that_has_it(address: str, name: str | None) -> None:
    rules = [rule("192.0.2.0/24"), rule("192.0.2.7", "probe"), rule("2001:db8:1::/48")]
    for given in (rules, rules[::-1]):
        assert decode(content(*given)).rule_of(ip_address(address)) == name


def test_a_network_of_all_addresses_has_each() -> None:
    all_of_them = decode(content(rule("0.0.0.0/0", "v4"), rule("::/0", "v6")))
    assert all_of_them.rule_of(ip_address("198.51.100.1")) == "v4"
    assert all_of_them.rule_of(ip_address("::1")) == "v6"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (b"", "list of rules"),
        (b"{}", "Expected `array`"),
        (b"\xff", "list of rules"),
        (
            content(rule("192.0.2.1/24")),
            r"rule 0 \(office\): cidr=192.0.2.1/24: 192.0.2.1/24 has host bits set; name a",
        ),
        (content(rule("example.org")), r"rule 0 \(office\): cidr=example.org"),
        (content(rule("::ffff:192.0.2.0/120")), "is of IPv4 addresses; write them as such"),
        (content(rule("192.0.2.0/24"), rule("192.0.2.0/24", "b")), r"rule 1 \(b\): .* is also that of office"),
        (content(rule("192.0.2.0/24", "Office")), r"\[0\]\.name"),
        (content(rule("192.0.2.0/24", "a" * 65)), r"\[0\]\.name"),
        (content(rule("192.0.2.0/24", "a\n")), r"\[0\]\.name"),
        (content(rule("192.0.2.0/24", reason="")), r"\[0\]\.reason"),
        (content({"name": "a", "cidr": "192.0.2.0/24"}), "reason"),
        (content(rule("192.0.2.0/24") | {"until": 1}), "until"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(given: bytes, complaint: str) -> None:
    with pytest.raises(ExclusionsError, match=complaint):
        decode(given)


def test_a_change_is_taken_and_a_broken_one_leaves_the_old_rules_in_force(tmp_path: Path) -> None:
    path = tmp_path / "exclusions.json"
    path.write_bytes(content(rule("192.0.2.0/24")))
    registry = CollectorRegistry()
    exclusions = Exclusions(str(path), registry)
    exclusions.file.load()
    address = ip_address("192.0.2.1")
    assert exclusions.rule_of(address) == "office"
    path.write_bytes(content(rule("192.0.2.0/24", "office-2"), rule("198.51.100.0/24")))
    exclusions.file.reload()
    assert exclusions.rule_of(address) == "office-2"
    for broken in (b"[", None):
        path.unlink() if broken is None else path.write_bytes(broken)
        exclusions.file.reload()
        assert (exclusions.rule_of(address), registry.get_sample_value(GAUGE)) == ("office-2", 1)
    path.write_bytes(content())
    exclusions.file.reload()
    assert (exclusions.rule_of(address), registry.get_sample_value(GAUGE)) == (None, 0)
    assert exclusions.is_empty


def test_a_process_does_not_start_without_the_rules_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(ExclusionsError, match=r"ingest\.exclusions_file=.*cannot be read: No such file"):
        Exclusions(str(tmp_path / "none.json"), CollectorRegistry()).file.load()
    without = Exclusions("", CollectorRegistry())
    without.file.load()
    without.file.reload()
    assert without.is_empty


def test_a_running_process_looks_for_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.watched_file.RELOAD_S", 0)
    path = tmp_path / "exclusions.json"
    path.write_bytes(content())
    exclusions = Exclusions(str(path), CollectorRegistry())
    exclusions.file.load()
    path.write_bytes(content(rule("192.0.2.0/24")))

    async def until_taken() -> None:
        watch = asyncio.create_task(exclusions.file.watch())
        while exclusions.is_empty:
            await asyncio.sleep(0)
        watch.cancel()

    asyncio.run(asyncio.wait_for(until_taken(), 30))
    assert exclusions.rule_of(ip_address("192.0.2.1")) == "office"
