"""Redis: its address, and how to be let in."""

from typing import Self

from pydantic import Field, model_validator

from settings.groups.base import Group, Port


class RedisSettings(Group):
    """Redis, or Valkey. It holds only what may be lost, so nothing waits for it long, and nothing fails without it."""

    host: str = Field("127.0.0.1", description="The server. Empty if there is none.")
    port: Port = 6379
    username: str | None = Field(
        None, description="The user of Redis, if it is not the default one. Set it together with password_file."
    )
    password_file: str | None = Field(
        None,
        description="A file with the password. It is read for each new connection, so that a password can be replaced "
        "without a restart.",
    )
    tls: bool = Field(False, description="Whether connections are encrypted.")
    ca_file: str | None = Field(
        None,
        description="A file with the certificates by which the server's is checked, with tls. If it is not set, those "
        "of the system are taken.",
    )
    timeout_ms: int = Field(
        100,
        ge=1,
        le=10_000,
        description="How long a connection and an answer may take. After it, whoever asks goes on without Redis.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.username is not None and self.password_file is None:
            raise ValueError(
                f"redis.username={self.username} is set and redis.password_file is not; set both, or the latter alone"
            )
        if self.ca_file is not None and not self.tls:
            raise ValueError(
                f"redis.ca_file={self.ca_file} is set and redis.tls is not, so that nothing would be checked; set "
                "redis.tls=true"
            )
        return self
