"""What every client of confluent-kafka that the product makes begins with. Knows no topic."""

from typing import Any

# Of syslog's levels: critical. Otherwise a client prints its own lines among those of a command, as when it is closed,
# and one for each connection that fails, which whoever uses the client is told anyway.
LOG_LEVEL = 2


def client_config(bootstrap_servers: str) -> dict[str, Any]:
    """The brokers' addresses, and silence but for what is critical."""
    return {"bootstrap.servers": bootstrap_servers, "log_level": LOG_LEVEL}
