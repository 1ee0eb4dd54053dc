"""A program that views, and that notes what it does: `python -m tests.chaos.sending HOW URL SPOOL NOTES`.

HOW is `on`, to view until SIGTERM, or `old`, to view some events of long ago and end. Each view has a UUID that no
other has. It is noted before `view` is called (`began`) and after it has returned (`viewed`), so that the notes say
what was sent, whenever the process is killed. Knows the client, and nothing of the services.
"""

import itertools
import json
import os
import signal
import sys
import threading
import uuid
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from view_counts_client import Client, Expired, Happening, Options, Refused

VIDEOS = 5
PAUSE_S = 0.01
# How long after the last view all of it may take to be acknowledged.
END_S = 200.0
# How long ago events were viewed, and how many of each: long before the stream's lateness; so long ago that they are
# too old when they have lain in overflow for a while; and too old already, so that the client does not send them.
OLD = 30
LATE_AGE = timedelta(hours=100)
SOON_TOO_OLD_AGE = timedelta(hours=144, seconds=-90)
EXPIRED_AGE = timedelta(hours=300)
OPTIONS = Options(
    batch_events_max=200,
    batch_age_max_s=0.1,
    backoff_most_s=2.0,
    breaker_most_s=2.0,
    flush_on_sigterm=False,
)


class Notes:
    """A file of lines: what happened, then to whom. What was written stays there when the process is killed."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, what: str, whom: str) -> None:
        """Write one line."""
        os.write(self._file, f"{what} {whom}\n".encode())

    def hear(self, happening: Happening) -> None:
        """Note what the client says it will not send."""
        if isinstance(happening, Expired):
            for event in happening.events:
                self.add("expired", json.loads(event.line())["viewer_id"])
        elif isinstance(happening, Refused):
            for event, why in happening.events:
                self.add("refused", f"{json.loads(event.line())['viewer_id']} {why}")


def view(client: Client, notes: Notes, video: str, viewed_at: datetime | None) -> None:
    """View once. Half of the views have the id that the client makes, and the others their own."""
    own = uuid.uuid4()
    notes.add("began", str(own))
    if viewed_at is None and own.int % 2:
        client.view(video, viewer_id=str(own))
    else:
        client.view(video, viewer_id=str(own), event_id=own, viewed_at=viewed_at or datetime.now(UTC))
    notes.add("viewed", str(own))


def view_on(client: Client, notes: Notes) -> None:
    """View until SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    for number in itertools.count():
        view(client, notes, f"video-{number % VIDEOS}", None)
        if ended.wait(PAUSE_S):
            return


def view_old(client: Client, notes: Notes) -> None:
    """View what is late, what soon is too old, and what is."""
    now = datetime.now(UTC)
    for age in (LATE_AGE, SOON_TOO_OLD_AGE, EXPIRED_AGE):
        for _ in range(OLD):
            view(client, notes, "old", now - age)


def main(how: str, url: str, spool: str, path: str) -> None:
    """Run the program."""
    notes = Notes(path)
    client = Client(url, spool=spool, options=OPTIONS, listener=notes.hear)
    {"on": view_on, "old": view_old}[how](client, notes)
    remaining = client.close(END_S)
    notes.add("ended", json.dumps({**asdict(client.counts), "remaining": remaining.events}))


if __name__ == "__main__":
    main(*sys.argv[1:])
