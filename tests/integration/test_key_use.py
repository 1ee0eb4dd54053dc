"""The last use of keys over a real Redis: processes tell it, the list shows it, and nothing fails without."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from connectors.key_file import change_keys
from connectors.key_use import read_uses, write_uses
from connectors.redis_client import redis_client
from schemas.access_keys import new_key
from services.access import last_use
from services.ingest import app as ingest_app
from settings import AccessSettings, RedisSettings, Settings
from tests.support.ingest_writer import StartedWriter
from tests.support.valkey import running_valkey
from tests.support.waiting import eventually
from tools.ops.app import app
from tools.stack.machine.ports import HOST

BACK_S = 30.0


def test_the_later_of_two_uses_stays(tmp_path: Path) -> None:
    async def work(settings: RedisSettings) -> dict[str, datetime]:
        redis = redis_client(settings)
        used = {"k1": 200, "k2": 100}
        await write_uses(redis, used)
        assert used == {}
        await write_uses(redis, {"k1": 150, "k2": 300})
        await write_uses(redis, {})
        await redis.aclose()
        return await read_uses(settings)

    with running_valkey(tmp_path) as server:
        found = asyncio.run(work(RedisSettings(host=HOST, port=server.port, timeout_ms=5000)))
    assert found == {name: datetime.fromtimestamp(at_s, UTC) for name, at_s in (("k1", 200), ("k2", 300))}


def test_a_use_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_app, "EventWriter", StartedWriter)
    monkeypatch.setattr(last_use, "TELL_S", 0.05)
    path = tmp_path / "keys.json"
    (used, text), (other, _) = new_key("write", "acme"), new_key("write", "acme")
    change_keys(path, lambda _keys: (used, other))
    monkeypatch.setenv("VIEW_COUNTS_ACCESS_KEYS_FILE", str(path))

    def listed() -> dict[str, str | None]:
        found = CliRunner().invoke(app, ["keys", "list", "--json"])
        assert found.exit_code == 0, found.output
        return {row["id"]: row["last_use"] for row in json.loads(found.output)}

    with running_valkey(tmp_path) as server:
        redis = RedisSettings(host=HOST, port=server.port, timeout_ms=5000)
        monkeypatch.setenv("VIEW_COUNTS_REDIS_HOST", HOST)
        monkeypatch.setenv("VIEW_COUNTS_REDIS_PORT", str(server.port))
        access = AccessSettings(mode="keys", keys_file=str(path))
        service = ingest_app.build_service(Settings(redis=redis, access=access))
        with TestClient(service.public) as client:
            wrong = client.get("/v1/recent", headers={"Authorization": f"Bearer vc_write_{other.id}_{'0' * 32}"})
            assert wrong.status_code == 401
            assert client.get("/v1/recent", headers={"Authorization": f"Bearer {text}"}).status_code == 200
            assert eventually(lambda: listed()[used.id] is not None, BACK_S)
        at = datetime.fromisoformat(str(listed()[used.id]))
        assert abs((datetime.now(UTC) - at).total_seconds()) < 3600
        # Whoever has only the id of a key does not use it.
        assert listed()[other.id] is None
        assert f"{at:%Y-%m-%dT%H:%M:%SZ}" in CliRunner().invoke(app, ["keys", "list"]).output
    assert listed() == {used.id: None, other.id: None}
