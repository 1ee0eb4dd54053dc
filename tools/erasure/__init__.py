"""Erases viewers from the archive and from history, while every number that was counted stays as it was.

Rewrites what udfs.logic.erasure.erasures says, keeps the list of erasures, and reports. Knows no rule itself.
"""

from tools.erasure.erasing import ErasureError, Stores, erase, erase_again, stores_of
from tools.erasure.report import Report, as_text

__all__ = ["ErasureError", "Report", "Stores", "as_text", "erase", "erase_again", "stores_of"]
