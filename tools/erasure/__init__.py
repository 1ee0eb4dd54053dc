"""Erases viewers from the archive and from history. No count changes.

It rewrites files as udfs.logic.erasure.erasures says, keeps the list of erasures, and reports. It has no rules itself.
"""

from tools.erasure.erasing import ErasureError, Stores, erase, erase_again, stores_of
from tools.erasure.report import Report, as_text

__all__ = ["ErasureError", "Report", "Stores", "as_text", "erase", "erase_again", "stores_of"]
