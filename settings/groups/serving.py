"""What the settings of both HTTP services share."""

from pydantic import Field

from settings.groups.base import Group, Port


class ServingSettings(Group):
    """Where an HTTP service listens, and how long its connections and the process live."""

    host: str = "127.0.0.1"
    port: Port = 8080
    private_host: str = Field(
        "127.0.0.1", description="The address of the private port. Nobody but operators and monitoring may reach it."
    )
    private_port: Port = Field(8180, description="The private port: metrics, and what operators ask.")
    keep_alive_s: int = Field(
        75,
        ge=1,
        description="How long an idle connection stays open. It must be longer than a load balancer keeps its own.",
    )
    connection_s: float = Field(
        300.0,
        gt=0,
        description="After this time, give or take 10%, a connection is closed with its next answer, so that a load "
        "balancer spreads clients anew.",
    )
    connections_max: int = Field(
        4000,
        ge=1,
        description="How many connections each port of the service has at most. A further one is answered with 503 and "
        "closed. The process must be allowed to open more files than this.",
    )
    head_timeout_s: float = Field(
        10.0,
        gt=0,
        description="How long the first line and the header fields of a request may take to arrive, and a connection "
        "may be silent before its first request. A slower one is closed.",
    )
    head_bytes_max: int = Field(
        16 << 10,
        ge=1024,
        description="The maximum size of a request's path and header fields together. More is answered with 431.",
    )
    leaving_s: float = Field(
        10.0,
        ge=0,
        description="After SIGTERM the service answers /readyz with 503, and goes on serving for this time: longer "
        "than three health checks of the load balancer.",
    )
