"""Who is behind proxies: only what trusted proxies have added is believed, and only as many of them as there are."""

import pytest

from services.access.client_address import bucket_of, client_address, is_through_proxies, networks

TRUSTED = networks("10.0.0.0/8, 192.0.2.1, fd00::/8")


def found(peer: str | None, *forwarded: str, count: int = 1) -> str:
    return str(client_address(peer, forwarded, trusted=TRUSTED, count=count))


@pytest.mark.parametrize(
    ("peer", "forwarded", "count", "client"),
    [
        # Without a proxy the header is anybody's.
        ("203.0.113.9", ("198.51.100.1",), 1, "203.0.113.9"),
        ("10.0.0.1", ("198.51.100.1",), 0, "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1",), 1, "198.51.100.1"),
        # The client has invented entries before its own.
        ("10.0.0.1", ("1.2.3.4, 198.51.100.1",), 1, "198.51.100.1"),
        ("10.0.0.1", ("1.2.3.4", "10.0.0.7, 198.51.100.1"), 1, "198.51.100.1"),
        # Two proxies; and a client that reaches the second one directly, and says that it is a proxy.
        ("10.0.0.1", ("198.51.100.1, 192.0.2.1",), 2, "198.51.100.1"),
        ("10.0.0.1", ("1.2.3.4, 203.0.113.9",), 2, "203.0.113.9"),
        # A client of the proxies' own network: its invention stands beyond the number of proxies.
        ("10.0.0.1", ("1.2.3.4, 10.9.9.9",), 1, "10.9.9.9"),
        ("10.0.0.1", (), 1, "10.0.0.1"),
        ("10.0.0.1", ("",), 1, "10.0.0.1"),
        ("10.0.0.1", ("1.2.3.4, unknown",), 2, "10.0.0.1"),
        ("fd00::1", ("[2001:db8::7]:4711",), 1, "2001:db8::7"),
        ("10.0.0.1", ("198.51.100.1:80",), 1, "198.51.100.1"),
        ("::ffff:10.0.0.1", ("::ffff:198.51.100.1",), 1, "198.51.100.1"),
        ("fe80::1%eth0", ("198.51.100.1",), 1, "fe80::1"),
        (None, ("198.51.100.1",), 1, "None"),
        ("unix-socket", ("198.51.100.1",), 1, "None"),
    ],
)
def test_a_client_is_whom_the_last_trusted_proxy_has_seen(
    peer: str | None, forwarded: tuple[str, ...], count: int, client: str
) -> None:
    assert found(peer, *forwarded, count=count) == client


def test_a_long_header_is_read_from_its_end() -> None:
    assert found("10.0.0.1", "1.2.3.4," * 10_000 + "198.51.100.1") == "198.51.100.1"


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
    ],
)
def test_an_ipv6_client_shares_the_limit_of_its_network(address: str, bucket: str) -> None:
    client = client_address(address, (), trusted=(), count=0)
    assert client is not None
    assert bucket_of(client) == bucket


def test_a_wrong_network_is_named() -> None:
    with pytest.raises(ValueError, match="10\\.0\\.0\\.1/8"):
        networks("10.0.0.1/8")


@pytest.mark.parametrize(
    ("peer", "forwarded", "count", "is_through"),
    [
        ("10.0.0.1", [], 1, True),
        ("10.0.0.1", ["203.0.113.7"], 1, True),
        ("203.0.113.7", ["10.0.0.1"], 1, False),
        (None, [], 1, False),
        ("10.0.0.1", ["203.0.113.7"], 0, False),
        # The outer proxy is the one that the inner proxy has seen.
        ("10.0.0.1", ["203.0.113.7, 10.9.0.1"], 2, True),
        ("10.0.0.1", ["203.0.113.7", "10.9.0.1"], 2, True),
        # A client has gone around the outer proxy, and says that it is one.
        ("10.0.0.1", ["10.9.0.1, 203.0.113.7"], 2, False),
        ("10.0.0.1", [], 2, False),
        ("10.0.0.1", ["10.9.0.1, nonsense"], 2, False),
    ],
)
def test_a_request_came_through_all_proxies_or_not(
    peer: str | None, forwarded: list[str], count: int, is_through: bool
) -> None:
    trusted = networks("10.0.0.0/8")
    assert is_through_proxies(peer, forwarded, trusted=trusted, count=count) is is_through
