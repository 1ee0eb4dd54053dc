"""What audits have found."""

from typing import Annotated

from msgspec import Meta, Struct

from services.query.api.answers.about import FromStores, Time

Corrected = Annotated[int, Meta(description="How many of them all these audits have set right.")]
Audits = Annotated[int, Meta(description="How many audits have looked at it.")]


class AuditedHour(Struct, frozen=True):
    """What the newest audit of an hour viewed has found. A cell is a minute of a video and kind."""

    start: Time
    audited_at: Time
    compared: Annotated[int, Meta(description="Cells that the stream or the archive has.")]
    equal: Annotated[int, Meta(description="Of these, cells in which the stream agrees with the archive.")]
    late: Annotated[int, Meta(description="Of these, cells that lack just events that came too late for the stream.")]
    late_added: Annotated[int, Meta(description="How many events that is. History has them.")]
    wrong: Annotated[int, Meta(description="All other cells.")]
    biggest_difference: Annotated[int, Meta(description="The largest difference among them, in views.")]
    audits: Audits
    corrected: Corrected


class WrongPlace(Struct, frozen=True):
    """Where a row was wrong."""

    at: Annotated[Time, Meta(description="The minute, hour or day; 1970 for a total.")]
    shard: Annotated[int, Meta(description="The shard of the video; for the ledger, the partition.")]


class Finding(Struct, frozen=True):
    """What the newest audit has found where rows are compared with what they are made from."""

    what: str
    audited_at: Time
    compared: Annotated[int, Meta(description="Rows of either side.")]
    wrong: Annotated[int, Meta(description="How many of these are not equal.")]
    audits: Audits
    wrong_audits: Annotated[int, Meta(description="How many of these audits found a row that is not equal.")]
    corrected: Corrected
    places: Annotated[list[WrongPlace], Meta(description="Where the last wrong audit found the first wrong rows.")]


class AuditTotal(Struct, frozen=True):
    """Sums over the hours of the answer."""

    compared: int
    equal: int
    late: int
    late_added: int
    wrong: int
    corrected: int


class AuditAnswer(FromStores, frozen=True):
    """Hours without an audit are left out. They are in order."""

    hours: list[AuditedHour]
    findings: Annotated[list[Finding], Meta(description="Of audits that ran within the range, by what they compared.")]
    total: AuditTotal
