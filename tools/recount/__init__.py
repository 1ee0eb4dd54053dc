"""The independent recount: counts the topic again, and compares the result with the tables and the services' answers.

It shares no code with the product: it has its own reader (kafka-python, fastavro), its own rules, and its own queries.
It only reads the same schema files as data.
"""

from tools.recount.answers import Answers, compare_hours
from tools.recount.compare import Finding, Report, compare_cells, compare_ledger, compare_rejected
from tools.recount.rules import Recount, Rules
from tools.recount.store import Store
from tools.recount.topic import end_offsets, read_topic

__all__ = [
    "Answers",
    "Finding",
    "Recount",
    "Report",
    "Rules",
    "Store",
    "compare_cells",
    "compare_hours",
    "compare_ledger",
    "compare_rejected",
    "end_offsets",
    "read_topic",
]
