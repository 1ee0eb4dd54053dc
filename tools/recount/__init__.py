"""The independent recount: what the topic holds, counted again, against what the store and the services say.

Shares no code with the system it judges: its own reader (kafka-python, fastavro), its own rules, its own queries.
Only the schema files are common, read as data.
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
