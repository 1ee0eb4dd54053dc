"""What can be asked about the fates of events."""

from services.openapi import Answer, Operation, Parameter
from services.query.api.answers.ledger import Ledger
from services.query.api.operations.shared import REFUSALS, TO, TRUST

LEDGER = Operation(
    "/v1/ledger",
    "What became of every event, by the minute it arrived in.",
    Answer("The minutes in which anything arrived, in order, and their sum.", (Ledger,), headers=TRUST),
    REFUSALS,
    (
        Parameter("from", "RFC 3339 or ms since 1970; an hour before `to` by default, and a day before it at most."),
        TO,
    ),
    rows="minutes",
)
