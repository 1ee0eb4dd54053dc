"""The client's rules, without a network and with time as an argument."""

import json
from collections import Counter
from uuid import UUID

import pytest

from services.ingest.intake import SEND_AGAIN as INGEST_SENDS_AGAIN
from tests.support.stub_ingest import stub_ingest
from view_counts_client import Client, Options, State
from view_counts_client.answers import SEND_AGAIN, Outcome, Verdict, outcome, retry_after_s
from view_counts_client.clock import Clock, shift_to
from view_counts_client.endpoints import Breaker, BreakerRules, Endpoints
from view_counts_client.events import event_of, other_fields
from view_counts_client.ids import POOLED, Ids, text_of
from view_counts_client.retry import Backoff, RetryBudget
from view_counts_client.transport import HttpTransport, NoAnswerError, Timeouts

NOW_S = 1_767_268_800.0
RULES = BreakerRules(failures=3, first_s=1.0, most_s=8.0)


def test_ids_are_of_version_7_with_their_time_and_all_different() -> None:
    ids = Ids()
    made = [ids.make(1_767_268_800_000 + place) for place in range(2 * POOLED + 1)]
    assert len({one[6:] for one in made}) == len(made)
    for place, one in enumerate(made):
        identity = UUID(bytes=one)
        assert (identity.version, identity.variant) == (7, "specified in RFC 4122")
        assert identity.int >> 80 == 1_767_268_800_000 + place
        assert text_of(one) == str(identity)


def test_all_other_bits_of_an_id_are_random() -> None:
    ids = Ids()
    bits = Counter[int]()
    for _ in range(POOLED):
        made = int.from_bytes(ids.make(0), "big")
        bits.update(place for place in range(80) if made >> place & 1)
    fixed = {place: bits[place] for place in range(80) if bits[place] in {0, POOLED}}
    # Version 0111 and variant 10.
    assert fixed == {79: 0, 78: POOLED, 77: POOLED, 76: POOLED, 63: POOLED, 62: 0}


def test_a_line_has_the_fields_that_ingest_reads() -> None:
    others = other_fields("like", "DE", "tv", 'Moz"illa\n')
    line = event_of((bytes(15) + b"\1", 5, True, "видео", "v\\", others)).line()
    assert b"\n" not in line
    assert json.loads(line) == {
        "event_id": "00000000-0000-0000-0000-000000000001",
        "viewed_at": 5,
        "video_id": "видео",
        "viewer_id": "v\\",
        "kind": "like",
        "country": "DE",
        "device": "tv",
        "user_agent": 'Moz"illa\n',
    }


def test_the_clock_goes_on_by_its_steady_source_and_is_corrected_once() -> None:
    ticks, wall = [5_000_000_000], [1_000_000_000_000]
    clock = Clock(lambda: ticks[0], lambda: wall[0])
    assert clock.now_ms() == 1_000_000
    # Somebody sets the device's clock.
    wall[0] += 7_200_000_000_000
    ticks[0] += 1_000_000
    assert clock.now_ms() == 1_000_001
    clock.corrected_by(-1)
    assert clock.now_ms() == 1_000_000
    assert clock.is_known


@pytest.mark.parametrize(
    ("asked", "answered", "service", "shift"),
    [
        (1000, 1100, 8_001_050, 8_000_000),
        (8_001_000, 8_001_100, 1050, -8_000_000),
        # As right as can be told.
        (1000, 1100, 1500, 0),
        # The answer took longer than the clock is off.
        (0, 10_000, 9_000, 0),
        # The clock went back meanwhile.
        (5000, 4000, 9000, 4000),
    ],
)
def test_the_shift_is_that_of_the_middle_of_the_way(asked: int, answered: int, service: int, shift: int) -> None:
    assert shift_to(asked, answered, service) == shift


def test_backoff_doubles_up_to_its_bound_and_is_random_from_nothing_on() -> None:
    backoff = Backoff(first_s=0.5, most_s=3.0)
    assert [backoff.wait_s(failures, 1.0) for failures in (1, 2, 3, 4, 10_000)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.wait_s(3, 0.0) == 0.0
    assert backoff.wait_s(3, 0.25) == 0.5


def test_the_budget_allows_a_share_of_first_attempts_and_some_a_second() -> None:
    budget = RetryBudget(share=0.5, per_s=0.1, most=2, now_s=0.0)
    assert [budget.wait_s(0.0), budget.wait_s(0.0)] == [0.0, 0.0]
    assert budget.wait_s(0.0) == pytest.approx(10.0)
    # What was lent is paid back first.
    budget.attempted()
    budget.attempted()
    assert budget.wait_s(10.0) == 0.0
    assert budget.wait_s(10.0) == pytest.approx(10.0)


def test_a_budget_bounds_the_retries_of_a_day_on_which_everything_fails() -> None:
    budget = RetryBudget(share=0.5, per_s=1.0, most=20, now_s=0.0)
    now_s, retries = 0.0, 0
    while now_s < 3600:
        now_s += budget.wait_s(now_s) or 0.001
        retries += 1
    assert retries <= 3600 + 21 + 1


def test_a_breaker_opens_probes_and_closes() -> None:
    breaker = Breaker(RULES)
    for _ in range(2):
        breaker.failed(0.0, 0.0)
    assert (breaker.state, breaker.wait_s(0.0)) == (State.CLOSED, 0.0)
    breaker.failed(0.0, 1.0)
    assert (breaker.state, breaker.wait_s(0.0)) == (State.OPEN, 1.0)
    assert breaker.wait_s(1.0) == 0.0
    breaker.begun()
    assert breaker.state is State.HALF_OPEN
    # A failed probe opens it for longer.
    breaker.failed(1.0, 1.0)
    assert (breaker.state, breaker.wait_s(1.0)) == (State.OPEN, 2.0)
    for turn in range(10):
        breaker.begun()
        breaker.failed(10.0 * turn, 1.0)
    assert breaker.wait_s(90.0) == 8.0
    breaker.begun()
    breaker.succeeded()
    breaker.failed(200.0, 1.0)
    assert (breaker.state, breaker.wait_s(200.0)) == (State.CLOSED, 0.0)


def test_endpoints_take_turns_and_open_ones_are_left_out() -> None:
    endpoints = Endpoints(["a", "b", "c"], RULES)

    def chosen(now_s: float) -> str | float:
        found = endpoints.choose(now_s)
        return found if isinstance(found, float) else found[0]

    def fail(url: str, now_s: float) -> None:
        found = endpoints.choose(now_s)
        while not isinstance(found, float) and found[0] != url:
            found = endpoints.choose(now_s)
        assert not isinstance(found, float)
        found[1].failed(now_s, 1.0)

    assert [chosen(0.0) for _ in range(4)] == ["a", "b", "c", "a"]
    for _ in range(3):
        fail("b", 0.0)
    assert "b" not in {chosen(0.0) for _ in range(6)}
    assert "b" in {chosen(1.0) for _ in range(3)}
    for url in ("a", "c"):
        for _ in range(3):
            fail(url, 0.5)
    assert chosen(0.5) == pytest.approx(0.5)


def answer(status: int, events: int, **fields: object) -> Outcome:
    return outcome(status, {}, json.dumps(fields).encode(), events, NOW_S)


def rejected(index: int, remedy: str) -> dict[str, object]:
    return {"index": index, "field": None, "value": None, "reason": "r", "remedy": remedy}


def test_ingest_says_send_it_again_in_the_words_that_the_client_knows() -> None:
    assert INGEST_SENDS_AGAIN.startswith(SEND_AGAIN)


def test_an_answer_names_each_event_that_was_not_taken() -> None:
    found = answer(202, 4, accepted=2, rejected=[rejected(1, INGEST_SENDS_AGAIN), rejected(3, "mend it")])
    assert found.verdict is Verdict.SETTLED
    assert found.again == [1]
    assert [one.index for one in found.refused] == [3]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"accepted": 3, "rejected": []},
        {"accepted": 4, "rejected": [rejected(4, "mend it")]},
        {"accepted": 3, "rejected": [rejected(0, "mend it"), rejected(0, "mend it")], "more": 1},
        {"accepted": True, "rejected": []},
        {"accepted": 4, "rejected": {}},
        {"accepted": 4, "rejected": ["x"]},
    ],
)
def test_an_answer_that_does_not_account_for_all_events_takes_none(fields: dict[str, object]) -> None:
    if fields.get("more"):
        fields["accepted"] = 2
    assert answer(202, 4, **fields).verdict is Verdict.AGAIN


def test_an_answer_of_somebody_else_takes_nothing() -> None:
    assert outcome(202, {}, b"<html>", 1, NOW_S).verdict is Verdict.AGAIN
    assert outcome(200, {}, b'{"accepted": 1, "rejected": []}', 1, NOW_S).verdict is Verdict.AGAIN


def test_503_names_events_that_can_never_be_taken() -> None:
    found = answer(503, 2, accepted=0, rejected=[rejected(0, "mend it"), rejected(1, INGEST_SENDS_AGAIN)])
    assert (found.verdict, found.again, [one.index for one in found.refused]) == (Verdict.AGAIN, [1], [0])
    assert answer(503, 2, accepted=0, rejected=[], error="busy").refused == []


def test_400_is_final_where_it_names_all_events_and_else_parts_the_body() -> None:
    named = answer(400, 2, accepted=0, rejected=[rejected(0, "x"), rejected(1, "y")])
    assert (named.verdict, len(named.refused)) == (Verdict.SETTLED, 2)
    assert answer(400, 2, accepted=0, rejected=[rejected(0, "x")]).verdict is Verdict.SPLIT
    alone = answer(413, 1, accepted=0, rejected=[], error="too large")
    assert (alone.verdict, [one.index for one in alone.refused]) == (Verdict.SETTLED, [0])
    assert answer(408, 1, accepted=0, rejected=[], error="too slow").verdict is Verdict.AGAIN


@pytest.mark.parametrize("status", [400, 413])
def test_what_a_proxy_says_is_the_last_word_on_no_event(status: int) -> None:
    assert outcome(status, {}, b"<html>plain HTTP to an HTTPS port", 1, NOW_S).verdict is Verdict.REFUSED


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (429, Verdict.WAIT),
        (401, Verdict.REFUSED),
        (403, Verdict.REFUSED),
        (404, Verdict.REFUSED),
        (301, Verdict.REFUSED),
        (422, Verdict.REFUSED),
        (500, Verdict.AGAIN),
        (502, Verdict.AGAIN),
        (504, Verdict.AGAIN),
        (200, Verdict.AGAIN),
    ],
)
def test_other_answers_lose_nothing(status: int, verdict: Verdict) -> None:
    found = answer(status, 3, error="e")
    assert (found.verdict, found.refused, found.again) == (verdict, [], [])


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        (None, None),
        ("7", 7.0),
        ("0", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("9999999", 3600.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str | None, wait_s: float | None) -> None:
    assert retry_after_s(text, NOW_S) == wait_s


@pytest.mark.parametrize(
    "wrong", [{"queue_events_max": 0}, {"deadline_s": -1}, {"encoding": "br"}, {"block_max_s": True}]
)
def test_wrong_options_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        Options(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("endpoints", [[], "127.0.0.1:8080", "http://127.0.0.1:8080/v1/events"])
def test_wrong_endpoints_are_named(endpoints: str | list[str]) -> None:
    with pytest.raises(ValueError, match="endpoints"):
        Client(endpoints)


def test_a_call_ends_at_its_deadline_however_the_answer_drips() -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                while not stop.wait(0.01):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        transport = HttpTransport(Timeouts(connect_s=5.0, request_s=5.0, deadline_s=0.2))
        with pytest.raises(NoAnswerError, match="Timeout"):
            transport.post(f"http://127.0.0.1:{port}/v1/events", {}, b"x")
        stop.set()
        thread.join()
        transport.close()


def test_headers_of_an_answer_have_small_names() -> None:
    with stub_ingest() as stub:
        transport = HttpTransport(Timeouts(connect_s=5.0, request_s=5.0, deadline_s=5.0))
        assert transport.get(f"{stub.url}/v1/time", {}).headers.keys() >= {"content-length", "server"}
        transport.close()
