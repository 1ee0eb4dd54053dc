"""Senders of views that benchmarks.client compares, each in a process of its own.

`python -m benchmarks.contenders.view_senders NAME URL COUNT` sends so many views, and prints what it cost.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable

import httpx2

# What a program does that knows no better: so many attempts, one after the other.
LOOP_ATTEMPTS = 3
OWN_BATCH_EVENTS = 100


def by_loop(url: str, count: int) -> None:
    """One request for each view, and again at once if it fails."""
    with httpx2.Client() as http:
        for place in range(count):
            for _ in range(LOOP_ATTEMPTS):
                try:
                    if http.post(f"{url}/v1/events", json={"events": [{"video_id": f"v-{place}"}]}).is_success:
                        break
                except httpx2.TransportError:
                    continue


def by_posthog(url: str, count: int) -> None:
    """PostHog's client with its own settings, save that its queue holds all."""
    from posthog import Posthog  # noqa: PLC0415 - the other senders do not pay for it

    client = Posthog("key", host=url, max_queue_size=count, gzip=True)
    for place in range(count):
        client.capture("view", distinct_id=f"viewer-{place}", properties={"video_id": f"v-{place}"})
    client.shutdown()


def by_client(url: str, count: int) -> None:
    """The client of this repository."""
    _by_client(url, count, None)


def by_client_with_spool(url: str, count: int) -> None:
    """The same with a spool."""
    with tempfile.TemporaryDirectory() as spool:
        _by_client(url, count, spool)


def _by_client(url: str, count: int, spool: str | None) -> None:
    from view_counts_client import Client, Options  # noqa: PLC0415 - the other senders do not pay for it

    # Batches as PostHog's are.
    options = Options(batch_events_max=OWN_BATCH_EVENTS, exit_flush_s=600.0)
    with Client(url, spool=spool, options=options) as client:
        for place in range(count):
            client.view(f"v-{place}", viewer_id=f"viewer-{place}")


SENDERS: dict[str, Callable[[str, int], None]] = {
    "httpx2 loop": by_loop,
    "posthog": by_posthog,
    "client": by_client,
    "client with spool": by_client_with_spool,
}


def main(name: str, url: str, count: int) -> None:
    """Send views, and print what it cost."""
    begun_s = time.monotonic()
    SENDERS[name](url, count)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"s": time.monotonic() - begun_s, "cpu_s": used.ru_utime + used.ru_stime}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
