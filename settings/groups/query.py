"""The HTTP query service."""

from pydantic import Field

from settings.groups.base import Group, Port


class QuerySettings(Group):
    """The HTTP query service."""

    host: str = "127.0.0.1"
    port: Port = 8090
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
    keep_alive_s: int = Field(
        75,
        ge=1,
        description="How long an idle connection stays open. It must be longer than a load balancer keeps its own.",
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
    history_timeout_s: float = Field(
        5.0,
        gt=0,
        description="How long one request to the object store may take. If a few of them fail, the answer is 503.",
    )
