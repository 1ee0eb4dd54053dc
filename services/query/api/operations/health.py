"""What monitoring asks."""

from typing import Any

from services.openapi import Answer, Operation, metrics
from services.query.api.operations.shared import refusal

METRICS = metrics(
    "The newest minute of the ledger that is surely written, and how far counting and history are, as metrics. "
    "While Cassandra does not answer, it has only what the process knows by itself.",
)
READYZ: Operation[Any] = Operation(
    "/readyz",
    "Can counts be read now?",
    Answer("Yes. Each line after the first says what is wrong with history or the stream."),
    {503: refusal("No; the body says why.", retry=True)},
)
