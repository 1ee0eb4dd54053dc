"""Which processes of the services there are, for commands that ask or tell each of them on its private port."""

import os
from collections.abc import Sequence

# A balancer leads to one of them only, and to no private port. The local stack sets these variables for its commands.
_SERVICES = ("ingest", "query")


def process_variable(service: str) -> str:
    """The variable with host:port of each process of a service, separated by commas."""
    assert service in _SERVICES
    return f"VC_{service.upper()}_PROCESSES"


def processes(given: Sequence[str] | None, *services: str) -> list[str]:
    """Those that the user has named, or else those that the environment knows: host:port of each private port."""
    if given:
        return list(given)
    texts = (os.environ.get(process_variable(service), "") for service in services)
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]
