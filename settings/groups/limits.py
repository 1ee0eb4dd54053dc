"""The limits of callers: how many events and bytes a second, and how processes share them."""

from pydantic import Field

from settings.groups.base import Group


class LimitSettings(Group):
    """How much each caller may send. A key may have limits of its own; these are for keys that have none."""

    events_per_s: float = Field(
        100_000,
        gt=0,
        description="How many events a second a key may send, by all processes together. In open access they are the "
        "project's.",
    )
    bytes_per_s: float = Field(
        100 << 20, gt=0, description="How many bytes of bodies a second a key may send, as they are unpacked."
    )
    address_events_per_s: float = Field(
        500,
        gt=0,
        description="How many events a second one client address may send under a publishable key. IPv6 addresses of "
        "one /64 count as one.",
    )
    address_bytes_per_s: float = Field(
        1 << 20, gt=0, description="How many bytes of bodies a second one client address may send so."
    )
    names_per_day_max: int = Field(
        100_000,
        ge=0,
        le=10_000_000,
        description="How many different videos, each with each of its kinds, a publishable key may name in a day of "
        "UTC at each process of ingest. Events that name a further one are rejected until the next day. Each takes "
        "about 100 bytes of memory. 0 sets no limit. A key may have a limit of its own, and a secret key has no other.",
    )
    burst_ms: int = Field(
        2000,
        ge=100,
        le=3_600_000,
        description="For how long a caller who has sent nothing may save up events and bytes. A body that is larger "
        "than what can be saved up is taken when all of it is there, and the caller waits afterwards.",
    )
    lease_ms: int = Field(
        100,
        ge=10,
        le=10_000,
        description="A process fetches events and bytes from Redis for this long at a time. Longer means fewer "
        "requests to Redis, and more that a process may hold unused.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=10_000,
        description="How many processes of ingest there are. While Redis does not answer, each gives this share of a "
        "limit.",
    )
    callers_max: int = Field(
        20_000,
        ge=100,
        description="How many keys and client addresses a process remembers. Those not heard of for the longest time "
        "are forgotten; Redis still knows them.",
    )
