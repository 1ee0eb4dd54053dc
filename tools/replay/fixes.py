"""Loads and calls fixes, functions of an operator that correct events, and checks what they return.

A fix is `fix(event, letter)`. It gets an event as a dict, or the bytes of an unreadable record, and its letter. It
returns the corrected event, or None to leave the event out. For bytes it may also return a list of events.
"""

import importlib
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

from schemas.fields import EVENT_FIELDS
from tools.replay.letters import Letter

Fix = Callable[[dict[str, Any] | bytes, Letter], Any]


class FixError(ValueError):
    """The fix is wrong, so nothing is sent. The text says for which letter, and what to do."""


def load_fix(name: str) -> Fix:
    """The function that `module:function` names, in the working folder or in an installed package. Raises FixError."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise FixError(f"--fix {name}: name it as module:function")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(module), function)
    # The module may raise anything.
    except Exception as error:
        raise FixError(f"--fix {name}: {type(error).__name__}: {error}; looked in {folder} first") from error
    if not callable(found):
        raise FixError(f"--fix {name}: {function} is not a function")
    return cast("Fix", found)


def mended(fix: Fix, given: dict[str, Any] | bytes, letter: Letter) -> list[dict[str, Any]]:
    """The events that the fix returns. Raises FixError if they are no events, or if a second call returns others."""
    answers = []
    for _ in range(2):
        try:
            answers.append(fix(deepcopy(given), letter))
        # The fix may raise anything.
        except Exception as error:
            raise FixError(f"{letter.origin}: the fix raised {type(error).__name__}: {error}") from error
    answer = answers[0]
    if answer != answers[1]:
        raise FixError(
            f"{letter.origin}: the fix returns something else when it is called again, so a second replay would make "
            "another event; it must use only its arguments"
        )
    events = [] if answer is None else answer if isinstance(answer, list) else [answer]
    for event in events:
        if not isinstance(event, dict):
            raise FixError(f"{letter.origin}: the fix returned {event!r:.80}: return a dict, a list of dicts or None")
        unknown = [str(name) for name in event if name not in EVENT_FIELDS]
        if unknown:
            raise FixError(
                f"{letter.origin}: the fix returned {', '.join(unknown)}: an event has {', '.join(EVENT_FIELDS)}"
            )
    return events
