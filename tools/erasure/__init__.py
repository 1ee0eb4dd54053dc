"""Erases viewers from the archive and from history, while every number that was counted stays as it was.

Rewrites what udfs.logic.erasure says, keeps the list of erasures, and reports. Knows no rule itself.
"""

from tools.erasure.erasing import ErasureError, erase, erase_again
from tools.erasure.report import Report, as_text

__all__ = ["ErasureError", "Report", "as_text", "erase", "erase_again"]
