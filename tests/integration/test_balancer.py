"""What the balancer sends a second time and what not, and to whom: HAProxy itself, and servers that break."""

import random
import socket
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx2
import pytest

from tests.support.balancers import PIECE_S, PIECES, How, Running, Stub, balancer, stubs
from tests.support.waiting import eventually
from tools.balancer.configuration import BUFFER_BYTES

KEY = "Idempotency-Key"


def uuid7() -> str:
    number = random.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | 7 << 76 | 2 << 62
    return str(uuid.UUID(int=number))


def client_of(url: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, trust_env=False, timeout=30)


def post(url: str, key: str | None, body: bytes) -> int:
    """Send in a connection of its own: when a later request of one breaks, HAProxy closes it and says nothing."""
    headers = {} if key is None else {KEY: key}
    with client_of(url) as client:
        return client.post("/v1/events", content=body, headers=headers).status_code


def until_asked(broken: Stub, send: Callable[[bytes], int], name: str, size: int = 0) -> tuple[bytes, int]:
    """Send bodies until the broken one was asked: what it was asked, and with what status that ended."""
    for number in range(20):
        body = f"{name} {number} ".encode().ljust(size, b".")
        status = send(body)
        if broken.seen[body]:
            return body, status
        assert status == 202
    raise AssertionError("the broken one was never asked")


@pytest.mark.parametrize("how", ["close", "reset", "half an answer"])
def test_after_a_broken_answer_only_what_has_a_uuid7_as_key_is_sent_again(how: How, tmp_path: Path) -> None:
    forms = {
        "a UUIDv7": (uuid7(), True),
        "in capitals": (uuid7().upper(), True),
        "in quotes": (f'"{uuid7()}"', True),
        "none": (None, False),
        "text": ("order-17", False),
        "a UUIDv4": (str(uuid.uuid4()), False),
        # One key for ingest, whose time it does not know.
        "behind a comma": (f"order-17,{uuid7()}", False),
        "more than a UUID": (f"{uuid7()}0", False),
    }
    with stubs("broken", "well") as (broken, well):
        broken.how = how
        with balancer(tmp_path, [broken.address, well.address]) as running:
            for name, (key, is_repeated) in forms.items():
                body, status = until_asked(broken, partial(post, running.ingest, key), name)
                assert status == (202 if is_repeated else 502), name
                assert (broken.seen[body], well.seen[body]) == (1, int(is_repeated)), name


def test_what_does_not_fit_one_buffer_is_sent_once_and_what_comes_in_pieces_is_waited_for(tmp_path: Path) -> None:
    def in_pieces(url: str, body: bytes) -> int:
        host, port = url.removeprefix("http://").split(":")
        head = "POST /v1/events HTTP/1.1", "Host: localhost", f"{KEY}: {uuid7()}", f"Content-Length: {len(body)}"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode())
            for piece in (body[:3], body[3:]):
                time.sleep(0.05)
                connection.sendall(piece)
            return int(connection.recv(4096).split()[1])

    with stubs("broken", "well") as (broken, well):
        broken.how = "close"
        with balancer(tmp_path, [broken.address, well.address]) as running:
            for size, expected in ((BUFFER_BYTES // 2, 202), (BUFFER_BYTES, 502)):
                _, status = until_asked(broken, partial(post, running.ingest, uuid7()), "large", size)
                assert status == expected
            body, status = until_asked(broken, partial(in_pieces, running.ingest), "in pieces")
            assert (status, broken.seen[body], well.seen[body]) == (202, 1, 1)


def test_a_refused_connection_is_tried_at_another_server_whatever_the_request_is(tmp_path: Path) -> None:
    with stubs("gone", "well") as (gone, well), balancer(tmp_path, [gone.address, well.address]) as running:
        gone.go()
        assert {post(running.ingest, None, b"%d" % number) for number in range(4)} == {202}
        assert (gone.seen.total(), well.seen.total()) == (0, 4)
        assert running.figure("haproxy_server_redispatch_warnings_total", "ingest") > 0


def test_a_question_is_asked_again_and_an_answer_that_says_no_is_an_answer(tmp_path: Path) -> None:
    with stubs("broken", "well") as (broken, well):
        addresses = [broken.address, well.address]
        with balancer(tmp_path, addresses, addresses) as running:
            broken.how = "close"
            with client_of(running.query) as client:
                assert {client.get(f"/v1/videos/{number}/views").text for number in range(20)} == {"well"}
            assert broken.seen, "none of twenty videos was of the broken one"
            broken.how = well.how = "503"
            assert post(running.ingest, uuid7(), b"no") == 503
            assert broken.seen[b"no"] + well.seen[b"no"] == 1


def test_one_process_answers_for_a_video_whatever_is_asked_of_it_and_in_whatever_order_they_are_named(
    tmp_path: Path,
) -> None:
    videos = [f"video-{number}" for number in range(30)]

    def homes(url: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {video: set() for video in videos}
        with client_of(url) as client:
            for video in videos:
                for what in ("views", "live", "series?granularity=minute", "history?day=2026-01-01"):
                    found[video].add(client.get(f"/v1/videos/{video}/{what}").text)
        assert all(len(names) == 1 for names in found.values())
        return found

    with stubs("one", "two", "three") as servers:
        one, two, three = (server.address for server in servers)
        with balancer(tmp_path, [one], [one, two]) as running:
            both = homes(running.query)
            assert set.union(*both.values()) == {"one", "two"}
            running.write([one], [two, three, one])
            running.reload()
            # Only videos of the new one have moved.
            more = homes(running.query)
            assert all(names == {"three"} or names == both[video] for video, names in more.items())
            assert {"three"} in more.values()
            running.write([one], [two, one])
            running.reload()
            assert homes(running.query) == both


def test_a_stream_lives_as_long_as_something_comes_now_and_then(tmp_path: Path) -> None:
    with stubs("one") as (one,), balancer(tmp_path, [one.address], [one.address], silent_s=1) as running:
        one.how = "stream"
        with client_of(running.query) as client:
            answer = client.get("/v1/videos/A/live")
        # Three times as long as either side may be silent.
        assert (answer.status_code, answer.text) == (200, ":\n" * PIECES)
        assert PIECES * PIECE_S > 2


def test_what_clients_say_of_their_address_is_thrown_away(tmp_path: Path) -> None:
    lie = {"X-Forwarded-For": "203.0.113.9"}
    with stubs("one") as (one,), balancer(tmp_path, [one.address], [one.address]) as running:
        with client_of(running.ingest) as client:
            client.post("/v1/events", headers=lie)
        with client_of(running.query) as client:
            client.get("/v1/top", headers=lie)
        assert one.forwarded == [b"127.0.0.1", b"127.0.0.1"]


def test_while_none_is_ready_they_themselves_say_why_and_one_that_is_gets_all(tmp_path: Path) -> None:
    with stubs("one", "two") as (one, two):
        addresses = [one.address, two.address]
        with balancer(tmp_path, addresses, addresses) as running:
            one.how = two.how = "not ready"
            for service, url, path in (
                ("ingest", running.ingest, "/v1/events"),
                ("query", running.query, "/v1/videos/A/views"),
            ):
                assert eventually(partial(is_all, running, service, "DOWN"), 20, 0.05)
                with client_of(url) as client:
                    answer = client.get(path)
                assert (answer.status_code, answer.text) == (503, "why")
            one.how = "answer"
            assert eventually(lambda: "UP" in running.states("ingest").values(), 20, 0.05)
            two.seen.clear()
            assert {post(running.ingest, None, b"%d" % number) for number in range(4)} == {202}
            assert not two.seen


def is_all(running: Running, service: str, state: str) -> bool:
    return set(running.states(service).values()) == {state}


def test_without_a_process_the_answer_says_so_and_when_to_come_back(tmp_path: Path) -> None:
    with stubs("gone") as (gone,), balancer(tmp_path, [gone.address], [gone.address]) as running:
        gone.go()
        assert eventually(partial(is_all, running, "ingest", "DOWN"), 20, 0.05)
        with client_of(running.ingest) as client:
            answer = client.post("/v1/events", content=b"{}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["rejected"] == []
        assert "send it again" in answer.json()["error"]
        assert "DOWN" in running.printed
