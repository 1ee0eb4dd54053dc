"""Bounds how many different videos a publishable key may name in a day: each is a row of tables for years.

Whoever reads a page has its key, and could make up names without end. Secret keys are trusted. The days are those of
UTC. A process counts for itself, and forgets when it ends. It takes the whole limit and no share of it, because each
may see all videos of a key. Pure: time is an argument.
"""

from dataclasses import dataclass, field

from services.access.caller import Caller
from services.ingest.events import Parsed, ViewEvent
from services.ingest.rejections import Rejection, rejection
from settings.durations import DAY_MS

REMEDY = "send it tomorrow, or ask the operator for a key with which more videos may be named"


@dataclass(slots=True)
class _Day:
    day: int
    # Hashes, so that long names take up no more. Two names with one hash are one in 2**64.
    seen: set[int] = field(default_factory=set)


class Novelty:
    """What each publishable key has named today: about 100 bytes for each name of each key in the file of keys."""

    def __init__(self, names_max: int) -> None:
        self._names_max = names_max
        self._days: dict[str, _Day] = {}

    def bounds(self, caller: Caller) -> bool:
        """Whether this caller is held to a number of videos."""
        return self._names_max > 0 and caller.is_publishable and caller.key is not None

    def only_known(self, caller: Caller, parsed: Parsed, now_ms: int) -> Parsed:
        """What was parsed, with events rejected that name a new video with a kind beyond the day's limit."""
        if not self.bounds(caller):
            return parsed
        seen = self._seen(str(caller.key), now_ms // DAY_MS)

        def refusal(event: ViewEvent, index: int) -> Rejection | None:
            name = hash((event.kind, event.video_id))
            if name not in seen and len(seen) >= self._names_max:
                return self._rejection(caller, event, index)
            seen.add(name)
            return None

        return parsed.without(refusal)

    def _seen(self, key: str, day: int) -> set[int]:
        found = self._days.get(key)
        # A clock that goes back begins no new day.
        if found is None or found.day < day:
            found = self._days[key] = _Day(day)
        return found.seen

    def _rejection(self, caller: Caller, event: ViewEvent, index: int) -> Rejection:
        return rejection(
            index,
            "video_id",
            event.video_id,
            f"the key {caller.key} has named {self._names_max} videos by kind today, and this one is new",
            REMEDY,
        )
