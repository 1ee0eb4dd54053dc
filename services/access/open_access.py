"""The check of a request when access is open: it must come from this machine, and from no page of another site. Pure.

A web page can make the browser of a developer send requests to 127.0.0.1. Such a request names the page as its Origin.
A page whose name is made to point to 127.0.0.1 (DNS rebinding) sends its own name as Host.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from services.refused import RefusedError

REMEDY = "access is open, and so for this machine alone; set VIEW_COUNTS_ACCESS_MODE=keys to serve others"


def check_local(hosts: Sequence[str], origins: Sequence[str], forwarded: Sequence[str]) -> None:
    """Raise RefusedError (403) for a Host, Origin or X-Forwarded-For that is not a loopback name or address.

    Each argument has the values of one header. A header that was not sent is none of them.
    """
    for name, values, is_local in (
        ("Host", hosts, _is_local_host),
        ("Origin", origins, _is_local_origin),
        ("X-Forwarded-For", [one for value in forwarded for one in value.split(",")], _is_local_name),
    ):
        for value in values:
            if not is_local(value.strip()):
                raise RefusedError(403, f"{name}: {value:.80} is foreign: {REMEDY}")


def _is_local_origin(origin: str) -> bool:
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and not parts.path and _is_local_host(parts.netloc)


def _is_local_host(host: str) -> bool:
    """A host with or without a port."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and "@" not in host and _is_local_name(name)


def _is_local_name(name: str) -> bool:
    name = name.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
