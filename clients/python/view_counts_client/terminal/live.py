"""Updates of a number or a list as they come: by server-sent events, and by asking again where there are none."""

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self

from view_counts_client.terminal.asking import AskError, Exit, Found, Query, path_of

# What a service says that has no events of this.
NO_EVENTS = frozenset({404, 405, 406})
AGAIN_S = 1.0


class Update(NamedTuple):
    """An answer, if its kind is that of what is followed; or something else that the service says of it.

    The service says `away` when it cannot read, and `lowered` when a number becomes smaller.
    """

    kind: str
    said: Found


class Follow(NamedTuple):
    """What is followed: the kind of its updates, where its events are, and the question that has the same answer."""

    kind: str
    events: str
    question: str
    parameters: Mapping[str, str | None]

    @classmethod
    def video(cls, video: str, kind: str | None) -> Self:
        """The total of a video."""
        return cls("views", path_of("videos", video, "live"), path_of("videos", video, "views"), {"kind": kind})

    @classmethod
    def top(cls, kind: str | None) -> Self:
        """The most viewed videos."""
        return cls("top", path_of("top", "live"), path_of("top"), {"kind": kind})


def updates(query: Query, follow: Follow, every_s: float) -> Iterator[Update]:
    """Each update, without end. Raises AskError when there is none to be had by either way."""
    try:
        yield from _by_events(query, follow)
    except AskError as error:
        # A proxy on the way may hold events back, or an older service has none.
        if error.code is not Exit.NO_ANSWER and error.status not in NO_EVENTS:
            raise
    yield from _by_questions(query, follow, every_s)


def _by_events(query: Query, follow: Follow) -> Iterator[Update]:
    """Updates by events. A stream that ends is opened again after its last event. Raises AskError."""
    last_id: str | None = None
    while True:
        has_any = False
        try:
            for event in query.follow(follow.events, follow.parameters, last_id):
                last_id = event.last_id
                has_any = True
                # The service closes the stream, and says why. It is opened again below.
                if event.kind != "end" and (found := _found(event.data)) is not None:
                    yield Update(event.kind, found)
        except AskError as error:
            if error.code is not Exit.NO_ANSWER or not has_any:
                raise
        if not has_any:
            raise AskError(f"{follow.events} has ended without an event", Exit.NO_ANSWER)
        query.pause(AGAIN_S)


def _by_questions(query: Query, follow: Follow, every_s: float) -> Iterator[Update]:
    """Updates by questions: the first answer, and each that differs from the one before."""
    before: Found | None = None
    while True:
        found, _ = query.ask(follow.question, follow.parameters)
        if found != before:
            yield Update(follow.kind, found)
        before = found
        query.pause(every_s)


def _found(data: str) -> Found | None:
    """The object in the data of an event; None if there is none."""
    try:
        found = json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
