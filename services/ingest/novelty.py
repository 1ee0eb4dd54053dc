"""Bounds how many different videos a key may name in a day: each is a row of tables for years.

Whoever reads a page has its key, and could make up names without end, so that every publishable key has such a limit. A
secret key has one if it says so, as one of a partner may: others are trusted, and a limit that nobody asked for would
refuse the import of a whole catalogue. The days are those of UTC. A process counts for itself, and forgets when it
ends. It takes the whole limit and no share of it, because each may see all videos of a key. Pure: time is an argument.
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
    """What each key with a limit has named today: about 100 bytes for each name.

    `names_max` is the limit of publishable keys that have none of their own; 0 for no limit.
    """

    def __init__(self, names_max: int) -> None:
        self._names_max = names_max
        self._days: dict[str, _Day] = {}

    def only_known(self, caller: Caller, parsed: Parsed, now_ms: int) -> Parsed:
        """What was parsed, with events rejected that name a new video with a kind beyond the day's limit."""
        names_max = self._names_max if caller.names_per_day_max is None else caller.names_per_day_max
        if not caller.counts_names or not names_max:
            return parsed
        seen = self._seen(str(caller.key), now_ms // DAY_MS)

        def refusal(event: ViewEvent, index: int) -> Rejection | None:
            name = hash((event.kind, event.video_id))
            if name not in seen and len(seen) >= names_max:
                return _rejection(caller, event, index, names_max)
            seen.add(name)
            return None

        return parsed.without(refusal)

    def _seen(self, key: str, day: int) -> set[int]:
        found = self._days.get(key)
        # A clock that goes back begins no new day.
        if found is None or found.day < day:
            found = self._days[key] = _Day(day)
        return found.seen


def _rejection(caller: Caller, event: ViewEvent, index: int, names_max: int) -> Rejection:
    reason = (
        f"the key {caller.key} has named {names_max} videos by kind today, and this one is new with the kind "
        f"{event.kind}"
    )
    return rejection(index, "video_id", event.video_id, reason, REMEDY)
