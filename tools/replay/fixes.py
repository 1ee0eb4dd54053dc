"""Functions of one's own that mend what could not be counted: found by name, called, and held to their word.

A fix is `fix(event, letter)`: an event as a dict, or the bytes of what cannot be read as one, and the letter it is in.
It returns the event as it should be, or None to leave it out; of bytes, a list of events too.
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
    """The fix is not to be trusted with any event; the text says which one and what to do."""


def load_fix(name: str) -> Fix:
    """The function that `module:function` names, in the working folder or installed. Raises FixError."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise FixError(f"--fix {name}: name it as module:function")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(module), function)
    # Whatever the module does.
    except Exception as error:
        raise FixError(f"--fix {name}: {type(error).__name__}: {error}; looked in {folder} first") from error
    if not callable(found):
        raise FixError(f"--fix {name}: {function} is no function")
    return cast("Fix", found)


def mended(fix: Fix, given: dict[str, Any] | bytes, letter: Letter) -> list[dict[str, Any]]:
    """What the fix makes of it. Raises FixError for what is no event, and for answers that differ when asked twice."""
    answers = []
    for _ in range(2):
        try:
            answers.append(fix(deepcopy(given), letter))
        # Whatever it does.
        except Exception as error:
            raise FixError(f"{letter.origin}: the fix raised {type(error).__name__}: {error}") from error
    answer = answers[0]
    if answer != answers[1]:
        raise FixError(
            f"{letter.origin}: the fix answers differently when asked again, and a second replay would make another "
            "event of it; let it use nothing but its arguments"
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
