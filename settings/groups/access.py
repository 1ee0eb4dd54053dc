"""Who may send and read."""

from ipaddress import ip_network
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from settings.groups.base import Group


class AccessSettings(Group):
    """Who may send and read."""

    mode: Literal["keys", "open"] = Field(
        "keys",
        description="keys: each request needs a key. open: none does, and requests that come from another machine, or "
        "from a page of another site, are refused; this is for the local stack.",
    )
    keys_file: str = Field(
        "/etc/view-counts/keys.json",
        min_length=1,
        description="The file of keys, which `python -m tools.ops keys` writes. It is read again whenever it changes.",
    )
    origins: str = Field(
        "*",
        description="The origins whose pages may call the services, by CORS, separated by commas; * for all. A "
        "publishable key has a list of its own. This keeps order among pages; it is no protection.",
    )
    project: str = Field(
        "default",
        min_length=1,
        max_length=64,
        pattern=r"^[a-z0-9][a-z0-9_.-]*$",
        description="The project of events that come without a key: in open access, and in the pack job.",
    )
    client_address_header: str = Field(
        "",
        pattern=r"^[A-Za-z0-9-]*$",
        description="The header in which proxies name the client, such as X-Forwarded-For. Empty if clients connect "
        "directly: then nobody is believed.",
    )
    trusted_proxies: str = Field(
        "",
        description="The networks of the proxies, separated by commas. The header is believed from them alone.",
    )
    trusted_proxies_count: int = Field(
        1,
        ge=0,
        le=16,
        description="How many proxies a request passes. So many entries at the end of the header are theirs.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for one in value.split(","):
            if one.strip():
                try:
                    ip_network(one.strip())
                except ValueError as error:
                    raise ValueError(f"{error}; name networks such as 10.0.0.0/8, or single addresses") from None
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.client_address_header and not self.trusted_proxies:
            raise ValueError(
                f"access.client_address_header={self.client_address_header} is set and access.trusted_proxies is not, "
                "so that nobody's header would be believed; name the proxies' networks"
            )
        return self
