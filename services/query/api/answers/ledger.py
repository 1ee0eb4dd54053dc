"""What became of every event."""

from typing import Annotated

from msgspec import Meta, Struct

from services.query.api.answers.about import FromStores, Time

Balanced = Annotated[bool, Meta(description="Whether every event received has exactly one fate.")]


class Tally(Struct, frozen=True):
    """How many events were received, how many had which fate, and how many Kafka records they came in."""

    received: int
    counted: int
    duplicate: int
    late: int
    invalid: int
    blocked: int
    dead_lettered: int
    records: int
    unreadable_records: int
    clamped_records: int
    balanced: Balanced


class TallyMinute(Struct, frozen=True):
    """The numbers of the ledger for the events that arrived in one minute."""

    start: Time
    received: int
    counted: int
    duplicate: int
    late: int
    invalid: int
    blocked: int
    dead_lettered: int
    records: int
    unreadable_records: int
    clamped_records: int
    balanced: Balanced


class Ledger(FromStores, frozen=True):
    """The minutes in which anything arrived, in order, and their sum."""

    minutes: list[TallyMinute]
    total: Tally
