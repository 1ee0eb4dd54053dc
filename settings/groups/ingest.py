"""The HTTP ingest service."""

from pydantic import Field

from settings.durations import DAY_MS, MINUTE_MS
from settings.groups.serving import ServingSettings


class IngestSettings(ServingSettings):
    """The HTTP ingest service."""

    linger_ms: int = Field(50, ge=0, description="How long an event waits for other events of its salt.")
    batch_events_max: int = Field(
        2000, ge=1, le=100_000, description="The maximum number of events in one Kafka record."
    )
    body_bytes_max: int = Field(
        8 << 20,
        ge=1024,
        description="The maximum size of a request's body, as sent and unpacked. A larger one is answered with 413.",
    )
    body_events_max: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="The maximum number of events in a request's body. A body with more is answered with 413.",
    )
    body_timeout_s: float = Field(
        20.0, gt=0, description="How long a body may take to arrive. A slower one is answered with 408."
    )
    bodies_bytes_max: int = Field(
        256 << 20,
        ge=1024,
        description="The maximum size of all bodies that are in memory together, as sent and unpacked. If it is "
        "reached, further requests are answered with 503 before their bodies are read.",
    )
    events_in_flight_max: int = Field(
        500_000,
        ge=1,
        description="How many accepted events may wait for Kafka to acknowledge them. If there are more, requests are "
        "answered with 429.",
    )
    delay_max_ms: int = Field(
        100,
        ge=1,
        description="How long a request with events may wait until the process begins it, by an estimate. If it would "
        "wait longer it is answered with 503 before its body is read. Connections that come back before Retry-After "
        "has passed are let in only up to an eighth of it.",
    )
    delivery_timeout_ms: int = Field(
        30_000, ge=1000, description="The write of an event fails if Kafka does not acknowledge it within this time."
    )
    heartbeat_ms: int = Field(1000, ge=100, description="How often a salt without events gets a heartbeat.")
    topics_check_s: float = Field(
        30.0, gt=0, description="How often the service checks that Kafka's topics are still as the product needs them."
    )
    past_margin_ms: int = Field(
        DAY_MS,
        ge=0,
        description="An event is rejected if it was viewed longer ago than history.late_hours plus this, by the "
        "service's own clock, because nothing would count it.",
    )
    future_margin_ms: int = Field(
        10 * MINUTE_MS,
        ge=0,
        description="An event is rejected if it was viewed further ahead than counting.future_skew_ms plus this, by "
        "the service's own clock. The clocks of services and brokers must differ by less.",
    )
    tally_minutes: int = Field(
        180, ge=1, le=10_000, description="For how many minutes of arrival the service keeps its own tally."
    )
    exclusions_file: str = Field(
        "",
        description="A file of networks, in JSON, whose views are marked with the name of a rule. It is read again "
        "whenever it changes. Empty for none.",
    )
    script_path: str = Field(
        "/vc.js",
        pattern=r"^((/[A-Za-z0-9_-]+)+\.js)?$",
        description="Where the script for browsers lies. Names that say what it does stand on lists of what browsers "
        "are to block. Empty for nowhere.",
    )
    image_path: str = Field(
        "",
        pattern=r"^((/[A-Za-z0-9_-]+)+\.gif)?$",
        description="Where the image lies that counts views of pages without scripts, as the kind noscript and not "
        "exactly. Empty for nowhere.",
    )
    country_header: str = Field(
        "",
        pattern=r"^[A-Za-z0-9-]*$",
        description="The header in which a CDN names the country of the client. It gives the country of events that "
        "name none, for publishable keys. It is believed only through access.trusted_proxies. Empty for none.",
    )
