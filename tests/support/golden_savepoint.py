"""What the golden savepoints hold: a job that has counted these views, and had not sent or written all of them.

Never changed: savepoints of state versions that are in use somewhere hold just these. Restored, a job goes on reading
where that job stopped, so the topic must begin with the same records.
"""

import uuid
from pathlib import Path

from tests.support.installation import PROMPT, Installation
from tests.support.metadata import Publisher
from tests.support.records import MINUTE_MS, Feeder, View
from tools.stack import Stack

FOLDER = Path(__file__).parent.parent / "golden" / "savepoints"
COUNTING = {
    "salts": 8,
    "shards": 8,
    "lateness_ms": MINUTE_MS,
    "generation_ms": 3 * MINUTE_MS,
    **PROMPT,
}
PARALLELISM = 2
# A start of a generation, 2026-01-01 00:00 UTC: append times are the test's own. All arrives in minute 1, in which
# minutes 0 and 1 are open.
START_MS = 1_767_225_600_000
FIRST_MS = START_MS + 65_000
SECOND_MS = START_MS + 80_000
VIDEOS = 30


def views(begin: int, number: int, minute: int) -> list[View]:
    """Views of one minute; the same ones for the same arguments, by any process."""
    return [
        View(
            f"video-{n % VIDEOS}",
            START_MS + minute * MINUTE_MS + n % 1000,
            "like" if n % 7 == 0 else "view",
            uuid.uuid5(uuid.NAMESPACE_OID, f"golden view {n}").bytes,
        )
        for n in range(begin, begin + number)
    ]


FIRST = views(0, 600, 0)
SECOND = views(600, 400, 1)


def installation_of(stack: Stack, name: str) -> Installation:
    """The installation that the savepoint of this name belongs to, its topics' names are in it; to be entered."""
    return Installation(stack, f"golden-{name}", COUNTING, trusted_times=True)


# Of savepoints that hold what is known of videos: that of these, by a first start, and of the others that it is not.
ENRICHED = "-enrich-"
TITLES = {f"video-{n}": f"title {n}" for n in range(10)}


def feed(installation: Installation, name: str) -> Feeder:
    """The records that the savepoint's job has read."""
    if ENRICHED in name:
        Publisher(installation).titles(TITLES)
    feeder = Feeder(installation.settings)
    feeder.send(FIRST, FIRST_MS)
    feeder.send(SECOND, SECOND_MS)
    return feeder
