"""Who may send and read."""

from pydantic import Field

from settings.groups.base import Group


class AccessSettings(Group):
    """Who may send and read."""

    project: str = Field(
        "default",
        min_length=1,
        max_length=64,
        pattern=r"^[a-z0-9][a-z0-9_.-]*$",
        description="The project of events that come without a key: in open access, and in the pack job.",
    )
