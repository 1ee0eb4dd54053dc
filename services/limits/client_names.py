"""Names a client's network under its key, so that everybody who has a publishable key has a limit of their own."""

from collections.abc import Sequence
from hashlib import blake2b

from services.access.client_address import bucket_of, client_address, networks
from settings import AccessSettings

_NAME_BYTES = 16


class ClientNames:
    """Makes the names. `header` is the one in which proxies name the client; "" if clients connect directly."""

    def __init__(self, access: AccessSettings) -> None:
        self.header = access.client_address_header
        self._trusted = networks(access.trusted_proxies)
        self._proxies = access.trusted_proxies_count

    def name(self, key_name: str, peer: str | None, forwarded: Sequence[str]) -> str:
        """A name from which nobody reads the address.

        `peer` is who has connected, and `forwarded` has the values of the header.
        """
        address = client_address(peer, forwarded, trusted=self._trusted, count=self._proxies)
        network = "unknown" if address is None else bucket_of(address)
        digest = blake2b(f"{key_name} {network}".encode(), digest_size=_NAME_BYTES).hexdigest()
        return f"address:{digest}"
