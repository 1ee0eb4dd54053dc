"""What can be asked about audits."""

from services.openapi import Answer, Operation, Parameter
from services.query.api.answers.audits import AuditAnswer
from services.query.api.operations.shared import REFUSALS, TO, TRUST
from services.query.api.parameters.audits import DAYS_MAX, LIMIT_MAX

AUDITS = Operation(
    "/v1/audits",
    "What audits have found, by hour viewed and by what they compared.",
    Answer("The newest verdict on each hour that was audited, in order.", (AuditAnswer,), headers=TRUST),
    REFUSALS,
    (
        Parameter("from", f"RFC 3339 or ms since 1970; 7 days before `to` by default, and {DAYS_MAX} days at most."),
        TO,
        Parameter(
            "limit",
            "The newest so many hours; all of them by default.",
            {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_MAX},
        ),
    ),
    description="Verdicts are kept for 100 days. An hour without one has not been audited, or longer ago.",
    rows="hours",
)
