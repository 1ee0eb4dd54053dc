"""The HTTP query service."""

from pydantic import Field

from settings.groups.base import Port
from settings.groups.serving import ServingSettings


class QuerySettings(ServingSettings):
    """The HTTP query service."""

    port: Port = 8090
    private_port: Port = Field(8190, description="The private port: metrics, and what operators ask.")
    minutes_kept_days: int = Field(
        8,
        ge=2,
        description="The time to live of the table views_by_minute, which must be that of schemas/cql. The service "
        "reads older minutes from history, beginning a day before they expire.",
    )
    hours_kept_days: int = Field(
        100,
        ge=2,
        description="The time to live of the table views_by_hour. The service reads older hours from history, "
        "beginning a day before they expire.",
    )
    points_max: int = Field(
        50_000,
        ge=1,
        description="The maximum number of points in one answer; for days of a time zone, the number of their hours.",
    )
    history_files_max: int = Field(
        2000,
        ge=1,
        description="From how many files of history one answer may be read. At first each hour is a file of its own.",
    )
    cassandra_timeout_s: float = Field(
        5.0,
        gt=0,
        description="How long one read of Cassandra may take, its wait for a turn included. After a few that were not "
        "answered, reads fail at once until Cassandra answers again.",
    )
    history_timeout_s: float = Field(
        5.0,
        gt=0,
        description="How long one request to the object store may take, and how long the service waits for one file. "
        "After a few that were not answered, reads fail at once until the store answers again.",
    )
    history_answer_timeout_s: float = Field(
        20.0, gt=0, description="How long the object store may take for all files of one answer."
    )
    refresh_ms: int = Field(
        250,
        ge=10,
        description="How often the service reads how far stream and history are complete, which all answers share.",
    )
    last_known_s: float = Field(
        3600.0,
        ge=0,
        description="For how long the service answers a question with what it answered last, while a store does not "
        "answer. Such an answer says how old it is.",
    )
    last_known_bytes_max: int = Field(
        16 << 20, ge=0, description="How much of last answers a process keeps for that. The last used ones stay."
    )
    stale_s: float = Field(
        60.0,
        ge=0,
        description="For how long the service goes on with what it has read of that, while Cassandra does not answer. "
        "It says no more than what was so then. After this time answers are 503.",
    )
    listeners_max: int = Field(
        1000,
        ge=0,
        description="How many streams of live answers a process has at a time. A further one is answered with 503. "
        "One key has at most half of them. Each is a connection of connections_max, and of what the load balancer "
        "gives to a process.",
    )
    fresh_ms: int = Field(
        1000,
        ge=0,
        description="How old numbers may be that still change: the service holds them for this time. 0: it holds "
        "nothing, and reads everything for each answer.",
    )
    held_bytes_max: int = Field(
        128 << 20,
        ge=0,
        description="How many bytes what the service holds takes up at most: a quarter each for totals, answers, hours "
        "and rows of history.",
    )
    search_bytes_max: int = Field(
        256 << 20,
        ge=0,
        description="The maximum size of the temporary files in which a process keeps ids and titles of videos, which "
        "it reads from kafka.metadata_topic when it starts; a million videos take about 200 MB. 0 turns search off.",
    )
    questions_per_s: float = Field(
        20_000,
        gt=0,
        description="How many questions a second a key may ask, by all processes together. In open access they are the "
        "project's. limits.burst_ms says for how long they can be saved up.",
    )
    cost_per_s: float = Field(
        40_000,
        gt=0,
        description="What these questions may cost together. Each costs 1, and 1 more for each partition of Cassandra "
        "that it reads, 5 for each file of history, and 1 for each 100 points.",
    )
    address_questions_per_s: float = Field(
        100,
        gt=0,
        description="How many questions a second one client address may ask with a publishable key.",
    )
    address_cost_per_s: float = Field(1000, gt=0, description="What these questions may cost together.")
    questions_at_once_max: int = Field(
        1000,
        ge=1,
        description="How many questions a process answers at a time. A further one is answered with 503 at once.",
    )
    cost_at_once_max: int = Field(
        30_000,
        ge=1,
        description="What the questions under way may cost together, beyond the 1 of each. One key may have half.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=10_000,
        description="How many processes of query there are. While Redis does not answer, each gives this share of a "
        "limit.",
    )

    @property
    def held_share_bytes(self) -> int:
        """How many bytes each of the four of held_bytes_max may take up."""
        return self.held_bytes_max // 4
