"""The job that packs single events."""

from typing import Literal, Self

from pydantic import Field, model_validator

from settings.groups.base import Group


class PackSettings(Group):
    """The job that packs a topic of single events. All of it but the topic may change at every start."""

    source_topic: str = Field("single-view-events", description="The topic to pack, with one event in each record.")
    framing: Literal["json", "plain", "single_object", "confluent"] = Field(
        "json",
        description="The encoding of a record: JSON, Avro without a header (plain), or Avro after one of two headers.",
    )
    schema_file: str | None = Field(
        None,
        description="The Avro schema with which records were written. If not set, it is ViewEvent.v1. With "
        "framing=single_object there may be several, separated by commas. With framing=confluent each is given as "
        "number=file, such as 7=/schemas/play.avsc,8=ViewEvent.v1. Records of any other schema are dead letters.",
    )
    unknown_fields: Literal["ignored", "misspelt_refused", "refused"] = Field(
        "misspelt_refused",
        description="What happens to unknown fields of an event: ignored leaves all of them out, misspelt_refused "
        "refuses events in which one looks like a misspelt field (viewedAt), refused refuses events that have any.",
    )
    heartbeats: bool = Field(
        True,
        description="Whether the job sends a heartbeat for each salt every second. Without heartbeats, from the job or "
        "from an ingest process, minutes do not close while no events come.",
    )
    batch_events_max: int = Field(
        2000, ge=1, le=100_000, description="The maximum number of events in one record of the events topic."
    )
    records_at_once: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="How many records the job reads before it packs them, over all salts. With more of them, batches "
        "are fuller.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.framing == "json" and self.schema_file is not None:
            raise ValueError(f"schema_file={self.schema_file} has no meaning for framing=json; choose an Avro framing")
        if self.framing == "confluent" and self.schema_file is None:
            raise ValueError(
                "schema_file is not set, and framing=confluent needs the number of each schema that records may have: "
                "set it to number=file, separated by commas, with ViewEvent.v1 as the file of the product's own schema"
            )
        for number, file in self.schema_files:
            if (number is None) == (self.framing == "confluent") or not file:
                raise ValueError(
                    f"schema_file={self.schema_file}: {file or 'nothing'} is named "
                    f"{'without' if number is None else 'with'} a number, or has no file; use number=file with "
                    "framing=confluent, and files alone with the other framings"
                )
        return self

    @property
    def schema_files(self) -> list[tuple[int | None, str]]:
        """(number, file) of each schema that is named; a file without a number has None."""
        found: list[tuple[int | None, str]] = []
        for entry in (self.schema_file or "").split(",") if self.schema_file else []:
            number, sign, file = entry.strip().partition("=")
            if sign and number.isascii() and number.isdigit() and int(number) < 1 << 32:
                found.append((int(number), file.strip()))
            else:
                found.append((None, entry.strip()))
        return found
