"""Looks into overflow and asks query at the same time, again and again, so that a test can compare them afterwards.

What lies in overflow is read from the objects themselves, by another reader than the product's.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import httpx2
from botocore.exceptions import BotoCoreError, ClientError

from settings.durations import MINUTE_MS
from tests.support.repeating import Repeating
from udfs.stores.overflow_objects import OverflowObjects

EVERY_S = 0.5
ASKED = timedelta(minutes=20)
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Look:
    """The answers of one moment, and the names of the objects that were there before and after they were given.

    `points` are (start in ms, views) of each minute asked for. `complete` have the ends, in ms, up to which the answer
    about these minutes and the one about all time say that they are complete; None if they do not.
    """

    video: str
    there: frozenset[str]
    from_ms: int
    points: Sequence[tuple[int, int]]
    complete_minutes: frozenset[int]
    complete: int | None
    complete_of_all: int | None
    # The end of the last minute that the stream had closed before the answers, in ms.
    closed: int | None


class Looking(Repeating):
    """Looks at `videos` in turn. `looks` has what was seen, and `viewed` the events of each object that was seen.

    `closed` is the end in ms of the last minute that the stream has closed, or None.
    """

    def __init__(
        self, objects: OverflowObjects, query: str, videos: Sequence[str], closed: Callable[[], int | None]
    ) -> None:
        super().__init__(EVERY_S)
        self._closed = closed
        self._objects = objects
        self._client = httpx2.Client(base_url=query, timeout=TIMEOUT_S, trust_env=False)
        self._videos = videos
        self.looks: list[Look] = []
        # The events of each object, by its name: id, and when it was viewed in ms.
        self.viewed: dict[str, list[tuple[bytes, int]]] = {}
        # Answers that could not be had.
        self.failed: list[str] = []

    def __exit__(self, *arguments: object) -> None:
        super().__exit__(*arguments)
        self._client.close()

    def step(self) -> None:
        """Look once."""
        try:
            self._look(self._videos[len(self.looks) % len(self._videos)])
        except (httpx2.HTTPError, BotoCoreError, ClientError) as error:
            self.failed.append(repr(error))

    def _look(self, video: str) -> None:
        before, closed = self._names(), self._closed()
        start = (datetime.now(UTC) - ASKED).replace(second=0, microsecond=0)
        path = f"/v1/videos/{video}"
        until = start + ASKED + timedelta(minutes=2)
        asked = {"granularity": "minute", "from": start.isoformat(), "to": until.isoformat()}
        series, total = self._answer(f"{path}/series", asked), self._answer(f"{path}/views", {})
        points = [(_ms(point["start"]), point["views"]) for point in series["points"]]
        self.looks.append(
            Look(
                video,
                before & self._names(),
                _ms(start.isoformat()),
                points,
                frozenset(_ms(point["start"]) for point in series["points"] if point.get("complete")),
                _ms(series["complete_through"]),
                _ms(total["complete_through"]),
                closed,
            )
        )

    def _answer(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        answer = self._client.get(path, params=parameters)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def _names(self) -> frozenset[str]:
        """The objects that are there now, each of which has been read once."""
        names = self._objects.names()
        for name in names:
            if name.text not in self.viewed and (content := self._objects.read(name)) is not None:
                batches: Any = fastavro.reader(io.BytesIO(content))
                events = [event for batch in batches for event in batch["events"]]
                self.viewed[name.text] = [(event["event_id"], _viewed_ms(event["viewed_at"])) for event in events]
        return frozenset(name.text for name in names)


def minutes_in_overflow(looking: Looking, look: Look) -> list[int]:
    """The minutes, in ms, of which events lay in overflow at a look."""
    return [viewed_ms // MINUTE_MS * MINUTE_MS for name in look.there for _, viewed_ms in looking.viewed[name]]


def too_complete(looking: Looking) -> list[Look]:
    """The looks at which an answer said that a minute is complete of which an event lay in overflow."""
    found = []
    for look in looking.looks:
        lay = minutes_in_overflow(looking, look)
        asked = [minute for minute in lay if minute >= look.from_ms]
        if (
            (lay and (look.complete_of_all or 0) > min(lay))
            or (asked and (look.complete or 0) > min(asked))
            or look.complete_minutes & set(lay)
        ):
            found.append(look)
    return found


def held_back(looking: Looking) -> list[Look]:
    """The looks at which the stream had closed a minute that was asked for, while an event of it lay in overflow."""
    return [
        look
        for look in looking.looks
        if any(look.from_ms <= minute < (look.closed or 0) for minute in minutes_in_overflow(looking, look))
    ]


def _ms(text: str | None) -> Any:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)


def _viewed_ms(viewed_at: Any) -> int:
    return viewed_at if isinstance(viewed_at, int) else round(viewed_at.timestamp() * 1000)
