"""What operators do with the register of history: make it, read it, verify it against the files, restore it."""

from tools.history.in_force import history_in_force
from tools.history.making import RegisterThereError, make_register
from tools.history.restoring import RestoreError, restore
from tools.history.verifying import Findings, verify

__all__ = [
    "Findings",
    "RegisterThereError",
    "RestoreError",
    "history_in_force",
    "make_register",
    "restore",
    "verify",
]
