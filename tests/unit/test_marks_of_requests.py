"""What ingest writes beside the fields of events: the class of the program, exclusions, a country. No server."""

import json
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from schemas.exclusions import ExclusionsError
from schemas.registry import decode
from services.ingest import app as ingest_app
from services.ingest import marks, packing
from services.ingest.agents import Agent, agent_of
from services.ingest.intake import LOOP_AGENTS_BYTES_MAX
from services.ingest.marks import country_of
from services.ingest.taking import KERNEL_BYTES_MIN
from settings import AccessSettings, IngestSettings, Settings
from tests.support.ingest_writer import FakeWriter
from tests.support.keys import load_keys
from tests.unit.test_agents import CHROME, GOOGLEBOT

AT = "https://www.example.com"
JSON, LINES, CLOUD = "application/json", "application/x-ndjson", "application/cloudevents+json"


PROXY = "10.0.0.1"
PROXIES = {"client_address_header": "X-Forwarded-For", "trusted_proxies": PROXY}
COUNTRY = "CF-IPCountry"


class Door:
    """Ingest with a key of each kind. `marks` are those of what was written last, by video."""

    def __init__(self, settings: Settings, writer: FakeWriter, keys: dict[str, str]) -> None:
        service = ingest_app.build_service(settings)
        load_keys(service)
        self._app = service.public
        self.client = self.connected("testclient")
        self._writer = writer
        self._keys = keys

    def connected(self, peer: str) -> TestClient:
        self.client = TestClient(self._app, base_url="http://localhost", client=(peer, 50_000))
        return self.client

    def send(
        self, body: bytes, scope: str = "write", media: str = JSON, more: Iterable[tuple[str, str]] = ()
    ) -> dict[str, Any]:
        headers = [("Authorization", f"Bearer {self._keys[scope]}"), ("Content-Type", media), ("Origin", AT), *more]
        answer = self.client.post("/v1/events", content=body, headers=headers)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def load_exclusions(self) -> None:
        """As the start of the service does. Its lifespan would connect to Kafka."""
        endpoint: Any = next(route.endpoint for route in self._app.routes if isinstance(route, Route))
        endpoint.__self__._marks._exclusions.file.load()

    @property
    def packed(self) -> Any:
        return self._writer.written[-1]

    @property
    def written(self) -> dict[str, dict[str, Any]]:
        packed = self.packed
        found = {}
        for block, ends, places in zip(packed.blocks, packed.ends, packed.indexes, strict=True):
            assert [len(block)] == ends[-1:] or not places
            value = packing.batch_value([block], len(places), producer_id="p", salt=0, salts=1, now_ms=0)
            for event, place in zip(decode(value)[1]["events"], places, strict=True):
                found[event["video_id"]] = event | {"index": place}
        return found

    @property
    def agents(self) -> dict[str, str | None]:
        return {video: event["agent"] for video, event in self.written.items()}


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Door]:
    writer = FakeWriter()
    monkeypatch.setattr(ingest_app, "EventWriter", lambda *_arguments, **_named: writer)
    path = tmp_path / "keys.json"
    secret, secret_text = new_key("write", "acme")
    public, public_text = new_key("pubwrite", "acme")
    public = msgspec.structs.replace(public, kinds=("*",), origins=("*",), video_id_prefix="*")
    change_keys(path, lambda _none: (secret, public))
    keys = {"write": secret_text, "pubwrite": public_text}

    def make(**settings: Any) -> Door:
        access = AccessSettings(mode="keys", keys_file=str(path), **settings.pop("access", {}))
        return Door(Settings(access=access, **settings), writer, keys)

    return make


def body(*events: dict[str, Any]) -> bytes:
    return json.dumps({"events": events}).encode()


def test_the_header_counts_for_publishable_keys_alone(door: Callable[..., Door]) -> None:
    ingest = door()
    for scope, header, agent in (
        ("pubwrite", CHROME, "browser"),
        ("pubwrite", GOOGLEBOT, "bot"),
        ("pubwrite", "", "unknown"),
        ("write", GOOGLEBOT, None),
    ):
        ingest.send(body({"video_id": "A"}), scope, more=[("User-Agent", header)])
        assert ingest.agents == {"A": agent}
        assert ingest.written["A"]["project"] == "acme"


@pytest.mark.parametrize("scope", ["write", "pubwrite"])
def test_an_event_s_own_user_agent_comes_first(door: Callable[..., Door], scope: str) -> None:
    ingest = door()
    of_header = "browser" if scope == "pubwrite" else None
    events: list[dict[str, Any]] = [
        {"video_id": "A", "user_agent": GOOGLEBOT},
        {"video_id": "B"},
        {"video_id": "C", "user_agent": ""},
        {"video_id": "D", "user_agent": None},
    ]
    expected = {"A": "bot", "B": of_header, "C": "unknown", "D": of_header}
    lines = "\n".join(json.dumps(event) for event in events).encode()
    for media, content in ((JSON, body(*events)), (LINES, lines)):
        answer = ingest.send(content, scope, media, more=[("User-Agent", CHROME)])
        assert ingest.agents == expected
        assert "ignored" not in answer
        assert [made["index"] for made in answer["event_ids"]] == [0, 1, 2, 3]


def test_events_with_and_without_a_user_agent_come_together_in_a_body_for_kernels(door: Callable[..., Door]) -> None:
    ingest = door()
    events: list[dict[str, Any]] = [{"video_id": f"v{number}"} for number in range(200)]
    for number in range(0, 200, 7):
        events[number]["user_agent"] = GOOGLEBOT
    # What the kernel leaves for another reason.
    events[1]["odd"] = 1
    events[2]["video_id"] = "\u00fc\n"
    events[3]["video_id"] = ""
    content = body(*events)
    assert len(content) > KERNEL_BYTES_MIN
    answer = ingest.send(content, more=[("User-Agent", CHROME)])
    assert (answer["accepted"], answer["ignored"]) == (199, ["odd"])
    assert [one["index"] for one in answer["rejected"]] == [3]
    places = [one["index"] for one in answer["event_ids"]]
    assert places == sorted(set(range(200)) - {3})
    expected = {event["video_id"]: "bot" if number % 7 == 0 else None for number, event in enumerate(events)}
    del expected[""]
    assert ingest.agents == expected
    indexes = {event["video_id"]: number for number, event in enumerate(events)}
    assert all(event["index"] == indexes[video] for video, event in ingest.written.items())
    # As whoever reads the block backwards relies on.
    assert all(places == sorted(places) for places in ingest.packed.indexes)
    by_id = {made["event_id"]: made["index"] for made in answer["event_ids"]}
    assert all(by_id[str(UUID(bytes=event["event_id"]))] == event["index"] for event in ingest.written.values())


@pytest.mark.parametrize("events", [1, 1000])
def test_many_user_agents_do_not_hold_up_the_loop(
    door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch, events: int
) -> None:
    readers, writers = set(), set()
    write = FakeWriter.write

    def noting_agent(user_agent: str) -> Agent:
        readers.add(threading.get_ident())
        return agent_of(user_agent)

    def noting_write(writer: FakeWriter, packed: Any, **named: Any) -> Any:
        writers.add(threading.get_ident())
        return write(writer, packed, **named)

    monkeypatch.setattr(marks, "agent_of", noting_agent)
    monkeypatch.setattr(FakeWriter, "write", noting_write)
    content = body(*({"video_id": "A", "user_agent": f"{number}"} for number in range(events)))
    door().send(content)
    assert (len(content) > LOOP_AGENTS_BYTES_MAX) is (readers != writers)


def test_a_cloud_event_has_it_in_its_data(door: Callable[..., Door]) -> None:
    ingest = door()
    cloud = {"specversion": "1.0", "type": "t", "source": "/s", "id": "1", "time": datetime.now(UTC).isoformat()}
    content = json.dumps(cloud | {"data": {"video_id": "A", "user_agent": "curl/8.10.1"}}).encode()
    ingest.send(content, media=CLOUD)
    assert ingest.agents == {"A": "bot"}


def test_the_text_itself_is_never_written(door: Callable[..., Door]) -> None:
    ingest = door()
    ingest.send(body({"video_id": "A", "user_agent": "Mozilla/5.0 (secret-of-a-viewer)"}), "pubwrite")
    assert all(b"secret" not in block for block in ingest.packed.blocks)


@pytest.mark.parametrize(
    ("peer", "forwarded", "sent", "country"),
    [
        (PROXY, "203.0.113.7", ["de"], "DE"),
        (PROXY, "203.0.113.7", ["XX"], None),
        (PROXY, "203.0.113.7", ["T1"], None),
        (PROXY, "203.0.113.7", ["DEU"], None),
        (PROXY, "203.0.113.7", ["D1"], None),
        (PROXY, "203.0.113.7", [""], None),
        (PROXY, "203.0.113.7", [], None),
        # The client's own, which the proxy has let through beside its own.
        (PROXY, "203.0.113.7", ["FR", "DE"], None),
        ("203.0.113.7", PROXY, ["DE"], None),
    ],
)
def test_a_country_comes_from_the_header_of_a_trusted_proxy(
    door: Callable[..., Door], peer: str, forwarded: str, sent: list[str], country: str | None
) -> None:
    ingest = door(access=PROXIES, ingest=IngestSettings(country_header=COUNTRY))
    ingest.connected(peer)
    events = [{"video_id": f"v{number}"} for number in range(100)] + [{"video_id": "own", "country": "AT"}]
    more = [("X-Forwarded-For", forwarded), *((COUNTRY, one) for one in sent)]
    for content in (body(*events), body(*events[-2:])):
        ingest.send(content, "pubwrite", more=more)
        found = {video: event["country"] for video, event in ingest.written.items()}
        assert found.pop("own") == "AT"
        assert set(found.values()) == {country}


def test_a_header_says_nothing_about_the_viewers_of_a_server(door: Callable[..., Door]) -> None:
    ingest = door(access=PROXIES, ingest=IngestSettings(country_header=COUNTRY))
    ingest.connected(PROXY)
    ingest.send(body({"video_id": "A"}), "write", more=[("X-Forwarded-For", "203.0.113.7"), (COUNTRY, "DE")])
    assert ingest.written["A"]["country"] is None


def test_no_header_gives_a_country_unless_a_setting_names_it(door: Callable[..., Door]) -> None:
    ingest = door(access=PROXIES)
    ingest.connected(PROXY)
    ingest.send(body({"video_id": "A"}), "pubwrite", more=[("X-Forwarded-For", "203.0.113.7"), (COUNTRY, "DE")])
    assert ingest.written["A"]["country"] is None


@pytest.mark.parametrize("text", ["\u00e4\u00e4", "\uff24\uff25", "\ud800\ud800", "zz", "D", "D E", "\u00df"])
def test_only_two_ascii_letters_are_a_country(text: str) -> None:
    assert country_of(text) is None


@pytest.mark.parametrize("scope", ["write", "pubwrite"])
def test_views_from_an_excluded_network_are_marked_and_taken(
    door: Callable[..., Door], tmp_path: Path, scope: str
) -> None:
    path = tmp_path / "exclusions.json"
    path.write_text(json.dumps([{"name": "office", "cidr": "203.0.113.0/24", "reason": "our own staff"}]))
    ingest = door(access=PROXIES, ingest=IngestSettings(exclusions_file=str(path)))
    ingest.load_exclusions()
    events: list[dict[str, Any]] = [{"video_id": f"v{number}"} for number in range(100)]
    events[7]["user_agent"] = GOOGLEBOT
    for peer, forwarded, exclusion in (
        (PROXY, "203.0.113.7", "office"),
        ("203.0.113.7", "198.51.100.1", "office"),
        (PROXY, "198.51.100.1", None),
        # Invented by the client, in front of what the proxy has seen.
        (PROXY, "203.0.113.7, 198.51.100.1", None),
    ):
        ingest.connected(peer)
        answer = ingest.send(body(*events), scope, more=[("X-Forwarded-For", forwarded)])
        assert answer["accepted"] == len(events)
        assert {event["exclusion"] for event in ingest.written.values()} == {exclusion}
        assert ingest.agents["v7"] == "bot"
        assert all(b"203.0.113" not in block for block in ingest.packed.blocks)


def test_the_service_does_not_start_without_the_exclusions_it_was_given(
    door: Callable[..., Door], tmp_path: Path
) -> None:
    ingest = door(ingest=IngestSettings(exclusions_file=str(tmp_path / "none.json")))
    with pytest.raises(ExclusionsError, match=r"ingest\.exclusions_file=.*none\.json cannot be read"), ingest.client:
        pass
