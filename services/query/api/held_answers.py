"""Holds answers as they were sent, for as long as the numbers in them may be answered. Knows no store.

A held answer is given again to whoever asks for the same in the same form. Whether the caller may ask, and what
changes while the numbers do not, is found out for each request anew.
"""

from time import monotonic
from typing import NamedTuple

from services.access.caller import Caller
from services.query.api.shown import Shown, Wanted
from services.query.cache.held import Held
from services.query.counts.spans import Span

# What is longer than this would make room for little else.
ANSWER_BYTES_MAX = 256 << 10
# Of an answer beside its body and what was asked: its header fields, and objects of Python.
ANSWER_BYTES = 2000


class Form(NamedTuple):
    """All that an answer depends on, beside its numbers: what is asked, in which form, and who may keep it."""

    raw_path: bytes
    query_string: bytes
    accept: str
    accept_encoding: str
    is_public: bool
    # Whether who asked may name kinds for watching the system: what others may not ask for is held apart.
    is_canary: bool


class HeldAnswer(NamedTuple):
    """An answer, the times that it is about, as Question has them, and until when it may be given.

    With None it may be given to nobody else.
    """

    shown: Shown
    span: Span | None
    until_s: float | None


class HeldAnswers:
    """Answers by their form."""

    def __init__(self, bytes_max: int) -> None:
        self._held: Held[Form, HeldAnswer] = Held(bytes_max, _size)

    def get(self, form: Form) -> HeldAnswer | None:
        """The answer, if it is held and may still be given."""
        found = self._held.get(form)
        is_fresh = found is not None and found.until_s is not None and monotonic() < found.until_s
        return found if is_fresh else None

    def put(self, form: Form, answer: HeldAnswer) -> None:
        """Hold an answer, unless it is an odd one."""
        shown = answer.shown
        if answer.until_s is None:
            return
        if shown.status == 200 and len(shown.body) <= ANSWER_BYTES_MAX and shown.headers["Cache-Control"] != "no-store":
            self._held.put(form, answer)


def form_of(question: tuple[bytes, bytes], wanted: Wanted, caller: Caller) -> Form | None:
    """The form of the answer to a question, which is its path and query; None if no held answer may be given.

    Who may not name everything is looked at more closely, and who has a tag may need no answer.
    """
    names_all = caller.names_all_but_canaries and caller.channels is None
    if wanted.if_none_match or not wanted.is_get or not names_all:
        return None
    return Form(*question, wanted.accept, wanted.accept_encoding, caller.is_publishable, caller.is_canary)


def _size(form: Form, held: HeldAnswer) -> int:
    asked = len(form.raw_path) + len(form.query_string) + len(form.accept) + len(form.accept_encoding)
    return ANSWER_BYTES + asked + len(held.shown.body)
