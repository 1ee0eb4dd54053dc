"""The client of Redis against a real server: passwords from a file, and a server that is away or does not answer."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from redis import RedisError

from connectors.redis_client import redis_client
from settings import RedisSettings
from tests.support.valkey import running_valkey
from tools.stack.machine.ports import HOST, free_ports


def asked(settings: RedisSettings) -> Any:
    """What PING answers. Raises what the client raises."""

    async def ask() -> Any:
        client = redis_client(settings)
        try:
            return await client.ping()
        finally:
            await client.aclose()

    return asyncio.run(ask())


def test_a_password_is_that_of_the_file_at_each_connection(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("first\n")
    with running_valkey(tmp_path, "--requirepass", "second") as server:
        settings = RedisSettings(port=server.port, password_file=str(secret))
        with pytest.raises(RedisError) as refused:
            asked(settings)
        assert "first" not in str(refused.value)
        secret.write_text("second\n")
        assert asked(settings) is True
        named = RedisSettings(port=server.port, username="default", password_file=str(secret))
        assert asked(named) is True
        with pytest.raises(RedisError):
            asked(RedisSettings(port=server.port))


def test_nobody_waits_for_a_server_that_is_away_or_silent() -> None:
    with pytest.raises((RedisError, OSError)):
        asked(RedisSettings(port=free_ports(["redis"])["redis"]))
    with socket.socket() as silent:
        silent.bind((HOST, 0))
        silent.listen()
        with pytest.raises((RedisError, OSError), match=r"[Tt]imeout"):
            asked(RedisSettings(port=silent.getsockname()[1], timeout_ms=50))
