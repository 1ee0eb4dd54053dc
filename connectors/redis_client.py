"""Makes clients of Redis, the same way for every service. What lies in Redis may be lost, so no call is tried again."""

from pathlib import Path
from typing import Any

import redis
from redis.asyncio import Redis
from redis.credentials import CredentialProvider

from settings import RedisSettings


class PasswordFile(CredentialProvider):
    """Gives each new connection the password that the file has at that moment. Raises OSError if it cannot be read."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """The name of the user, if there is one, and the password."""
        password = self._path.read_text(encoding="utf-8").strip()
        return (password,) if self._username is None else (self._username, password)


def redis_client(settings: RedisSettings) -> Redis:
    """A client that connects when it is first used. Whoever makes it ends it with `aclose`.

    Each call raises redis.RedisError or OSError when the server does not answer in time.
    """
    return Redis(**_options(settings))


def blocking_redis_client(settings: RedisSettings) -> "redis.Redis":
    """The same for threads: its calls block. Safe to use from many."""
    return redis.Redis(**_options(settings))


def _options(settings: RedisSettings) -> dict[str, Any]:
    timeout_s = settings.timeout_ms / 1000
    password = None if settings.password_file is None else PasswordFile(settings.username, Path(settings.password_file))
    return {
        "host": settings.host,
        "port": settings.port,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "credential_provider": password,
        "ssl": settings.tls,
        "ssl_ca_certs": settings.ca_file,
        # The library does not check the name by default, so that any certificate of the same authority would do.
        "ssl_check_hostname": True,
        # The library would tell the server its name and version, with two round trips more for each connection.
        "lib_name": None,
        "lib_version": None,
    }
