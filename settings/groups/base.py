"""What all groups of settings share: their base class and the types of fields."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import NoDecode

Port = Annotated[int, Field(ge=1, le=65_535)]
S3Folder = Annotated[str, Field(pattern=r"^s3://[^/]+/.+[^/]$")]
# A file that is mounted at the same place wherever it is needed. Java's clients get the path in ${directory:PATH:NAME},
# which knows no way to quote a colon or a brace.
MountedFile = Annotated[str, Field(pattern=r"^/[^:{}]*[^:{}/]$")]
HostList = Annotated[str, NoDecode, Field(min_length=1)]


class Group(BaseModel):
    """A group of settings. It cannot change, and knows no field but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")
