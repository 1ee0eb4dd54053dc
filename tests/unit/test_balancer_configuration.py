"""The balancer's configuration: HAProxy accepts it, and its times fit those of the services."""

import random
import re
import ssl
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from services.ingest.idempotency import key_of
from services.query.api.live.hub import COMMENT_S
from services.refused import RefusedError
from settings import AccessSettings, IngestSettings, QuerySettings, Settings
from tests.support.balancers import check, in_dns
from tools.balancer import Balancer, BalancerError, Door, Listed, Resolved, Times, check_leaving, configuration
from tools.balancer.configuration import CHECK_MS, KEY_FORM
from tools.ops.app import app
from tools.stack.machine.certificate import ensure_certificate

TIMES = Times.of(Settings())
ONE = Listed(["ingest-1:8080"])


def plain(folder: Path = Path("/run"), **more: object) -> Balancer:
    made = Balancer(
        Door("127.0.0.1:8080", None, ONE), Door("127.0.0.1:8090", None, ONE), "127.0.0.1:8404", folder / "admin.sock"
    )
    return replace(made, **more)  # type: ignore[arg-type]


def lines_of(balancer: Balancer, times: Times = TIMES) -> list[str]:
    return [line.strip() for line in configuration(balancer, times).splitlines()]


def seconds(lines: list[str], name: str) -> list[int]:
    return [int(found[1]) for line in lines if (found := re.fullmatch(rf"{name} (\d+)s", line))]


@pytest.mark.slow
def test_haproxy_accepts_what_is_made_for_a_list_and_for_dns(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    ensure_certificate(folder / "both.pem")
    listed = Listed(["127.0.0.1:8101", "[::1]:8102"])
    by_list = plain(
        folder,
        ingest=Door("127.0.0.1:8080", "127.0.0.1:8443", listed),
        query=Door("127.0.0.1:8090", "127.0.0.1:8493", listed),
        certificate=folder / "both.pem",
        threads=1,
        keeps_forwarded=True,
    )
    access = AccessSettings(
        client_address_header="X-Real-IP", trusted_proxies="10.0.0.0/8", origins="https://a.example"
    )
    other = Settings(access=access, ingest=IngestSettings(country_header="CF-IPCountry"))
    for made in (by_list, in_dns(folder)):
        for times in (TIMES, Times.of(other)):
            # A warning would be a doubt of HAProxy's.
            assert check(configuration(made, times), tmp_path) == "Configuration file is valid\n"


def test_each_wait_is_longer_than_what_it_waits_for_and_idle_connections_end_before_servers_would_end_them() -> None:
    for settings in (
        Settings(),
        Settings(ingest=IngestSettings(body_timeout_s=1)),
        Settings(
            ingest=IngestSettings(body_timeout_s=300, delivery_timeout_ms=120_000, keep_alive_s=30, head_timeout_s=2.5)
        ),
    ):
        lines = lines_of(plain(), Times.of(settings))
        answer_s = settings.ingest.body_timeout_s + settings.ingest.delivery_timeout_ms / 1000
        assert seconds(lines, "timeout server")[0] > answer_s
        assert seconds(lines, "hard-stop-after")[0] > seconds(lines, "timeout server")[0]
        assert seconds(lines, "timeout client")[0] > settings.ingest.body_timeout_s
        # One comment of a stream of live answers may be lost in a busy process.
        assert min(seconds(lines, "timeout client") + seconds(lines, "timeout server")) > 2 * COMMENT_S
        assert seconds(lines, "timeout http-request")[0] >= settings.ingest.head_timeout_s
        assert seconds(lines, "timeout http-keep-alive")[0] < settings.ingest.keep_alive_s
        assert seconds(lines, "timeout http-keep-alive")[0] < settings.query.keep_alive_s


def test_all_balancers_together_leave_room_among_the_connections_of_a_process() -> None:
    for balancers in (1, 2, 3):
        (server,) = (
            line
            for line in lines_of(plain(balancers=balancers))
            if line.startswith("default-server") and "maxconn" in line
        )
        found = re.search(r"maxconn (\d+)", server)
        assert found is not None
        assert int(found[1]) * balancers < Settings().ingest.connections_max


@pytest.mark.parametrize("name", ["ingest", "query"])
def test_a_process_that_leaves_sooner_than_checks_see_it_is_refused(name: str) -> None:
    group = {"ingest": IngestSettings, "query": QuerySettings}[name](leaving_s=CHECK_MS * 2 / 1000)
    with pytest.raises(BalancerError, match=f"VIEW_COUNTS_{name.upper()}_LEAVING_S=2 .*set 3 or more"):
        check_leaving(Settings(**{name: group}))


@pytest.mark.parametrize(
    ("balancer", "named"),
    [
        (plain(ingest=Door("8080", None, ONE)), "ingest='8080'"),
        (plain(ingest=Door("127.0.0.1:8080", None, Listed([]))), "ingest has no process"),
        (plain(query=Door("127.0.0.1:8090", None, Listed(["a:1\n    bind *:1"]))), "is no host:port"),
        (plain(query=Door("127.0.0.1:8090", None, Resolved("query svc:1"))), "is no host:port"),
        (plain(query=Door(None, None, ONE)), "query has no address"),
        (plain(ingest=Door(None, "*:8443", ONE)), "there is no certificate"),
        (plain(socket=Path("/it's/here")), "socket="),
    ],
)
def test_what_haproxy_would_misread_is_refused_by_name(balancer: Balancer, named: str) -> None:
    with pytest.raises(BalancerError, match=re.escape(named)):
        configuration(balancer, TIMES)


def test_the_first_balancer_throws_away_what_clients_say_and_one_behind_another_keeps_it() -> None:
    times = replace(TIMES, country_header="CF-IPCountry")
    removed = "http-request del-header X-Forwarded-For"
    lines = lines_of(plain(), times)
    assert lines.count(removed) == lines.count("http-request del-header CF-IPCountry") == 2
    assert not [line for line in lines_of(plain(keeps_forwarded=True), times) if "del-header" in line]
    for kept in (True, False):
        assert lines_of(plain(keeps_forwarded=kept)).count("option forwardfor header X-Forwarded-For") == 2


def test_a_list_of_origins_is_not_undone_by_the_balancers_own_answers() -> None:
    assert any("Access-Control-Allow-Origin" in line for line in lines_of(plain()))
    some = Times.of(Settings(access=AccessSettings(origins="https://www.example.com")))
    assert not any("Access-Control-Allow-Origin" in line for line in lines_of(plain(), some))


@given(st.from_regex(re.compile(KEY_FORM.replace("$", r"\Z"), re.IGNORECASE)))
def test_whatever_the_balancer_repeats_has_a_time_of_its_own_for_ingest(text: str) -> None:
    is_repeated_or_refused(text)


def is_repeated_or_refused(text: str) -> None:
    try:
        key = key_of([text], now_ms=1)
    except RefusedError:
        return
    assert key is not None
    assert not key.is_bounded


def test_every_uuid7_has_the_form_and_ingest_reads_its_time() -> None:
    r = random.Random(7)
    for _ in range(1000):
        made = str(uuid.UUID(int=r.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | 7 << 76 | 2 << 62))
        for text in (made, made.upper(), f'"{made}"', f'"{made}'):
            assert re.search(KEY_FORM, text, re.IGNORECASE)
            is_repeated_or_refused(text)


def test_the_command_prints_a_configuration_or_what_to_give() -> None:
    printed = CliRunner().invoke(
        app, ["balancer", "--ingest", "a:8080", "--ingest", "b:8080", "--query-dns", "query:8090", "--behind-proxy"]
    )
    assert printed.exit_code == 0, printed.output
    assert "server a_8080 a:8080 id " in printed.output
    assert "server-template query- 16 query:8090 resolvers dns init-addr none check" in printed.output
    assert "bind *:8443 ssl crt '/etc/haproxy/certificates/view-counts.pem' alpn h2,http/1.1" in printed.output
    refused = CliRunner().invoke(app, ["balancer", "--ingest", "a:8080"])
    assert refused.exit_code == 1
    assert "--query and --query-dns: give one of them" in refused.output


@pytest.mark.slow
def test_the_local_certificate_is_for_loopback_its_key_for_its_owner_and_it_is_made_again_when_it_must(
    tmp_path: Path,
) -> None:
    both = tmp_path / "made here" / "localhost.pem"
    public = ensure_certificate(both)
    assert both.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in public.read_text()
    ssl.create_default_context(cafile=str(public)).load_cert_chain(both)
    made = both.read_bytes()
    assert ensure_certificate(both) == public
    assert both.read_bytes() == made
    both.chmod(0o644)
    ensure_certificate(both)
    assert both.read_bytes() != made
    assert both.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in both.parent.iterdir()) == ["localhost.crt", "localhost.pem"]
