"""Sends blocks to the ingest service as JSON, and repeats events until each is acknowledged.

An event is acknowledged if an answer 202 does not list it. Otherwise (503, 429, a time-out, a broken connection, a
rejection because the write failed) it is sent again with the same id. If Kafka has it already, it is a duplicate.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2

from tools.load.malformed import BAD_BODIES, bad_json_event, is_about_the_event
from tools.load.traffic import Block
from tools.load.vocabulary import COUNTRIES, DEVICES, KINDS, Names

# This is longer than ingest waits for Kafka.
# What a balancer answers for a process that broke off, or gave no answer.
BROKEN_OFF = (502, 504)
ANSWER_TIMEOUT_S = 45.0
AGAIN_AFTER_S = 0.25
AGAIN_AFTER_MAX_S = 2.0
# One of so many times is written as text, the others as numbers.
TEXT_TIME_EVERY = 8


class NotAcknowledgedError(RuntimeError):
    """Events were not acknowledged in time, or an answer of ingest was wrong."""


@dataclass
class HttpTally:
    """What happened so far. `unknown` are events whose request ended without an answer."""

    requests: int = 0
    acknowledged: int = 0
    sent_again: int = 0
    unknown: int = 0
    bad_events_refused: int = 0


class HttpSender:
    """An async context manager that sends blocks. Send one block at a time: await it before the next."""

    def __init__(
        self,
        url: str,
        videos: Names,
        *,
        events_per_body: int = 500,
        concurrency: int = 8,
        bad_every: int = 0,
        give_up_s: float = 300.0,
    ) -> None:
        """One of `bad_every` bodies has a malformed event, and a malformed body is sent before it; 0 means never.

        `give_up_s` is how long one body is repeated before NotAcknowledgedError.
        """
        self._videos = [name.decode(errors="replace") for name in videos.names]
        self._kinds = [kind.decode() for kind in KINDS]
        self._events_per_body = events_per_body
        self._bad_every = bad_every
        self._give_up_s = give_up_s
        self._slots = asyncio.Semaphore(concurrency)
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx2.AsyncClient(base_url=url, timeout=ANSWER_TIMEOUT_S, limits=limits, trust_env=False)
        self._bodies = 0
        self.tally = HttpTally()

    async def __aenter__(self) -> "HttpSender":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send_block(self, block: Block) -> None:
        """Return when every event of the block is acknowledged. Raises NotAcknowledgedError."""
        texts = self._texts(block)
        bodies = [texts[at : at + self._events_per_body] for at in range(0, len(texts), self._events_per_body)]
        async with asyncio.TaskGroup() as group:
            for body in bodies:
                group.create_task(self._send(body))

    async def _send(self, good: list[str]) -> None:
        async with self._slots:
            self._bodies += 1
            bad: str | None = None
            if self._bad_every and self._bodies % self._bad_every == 0:
                bad = bad_json_event(self._bodies // self._bad_every)
                await self._send_bad_body(self._bodies // self._bad_every)
            deadline = time.monotonic() + self._give_up_s
            again_after_s = AGAIN_AFTER_S
            pending = good
            while pending:
                # The bad event is in the middle, so that indexes on both sides of it are tested.
                place = len(pending) // 2
                body = pending if bad is None else [*pending[:place], bad, *pending[place:]]
                left, is_bad_refused = await self._once(body, None if bad is None else place)
                if is_bad_refused:
                    bad = None
                self.tally.acknowledged += len(pending) - len(left)
                pending = left
                if not pending:
                    return
                if time.monotonic() > deadline:
                    raise NotAcknowledgedError(
                        f"{len(pending)} events were not acknowledged within {self._give_up_s:.0f} s, the first of "
                        f"them {pending[0]}; check that ingest and Kafka run"
                    )
                self.tally.sent_again += len(pending)
                await asyncio.sleep(again_after_s)
                again_after_s = min(2 * again_after_s, AGAIN_AFTER_MAX_S)

    async def _once(self, body: list[str], bad_at: int | None) -> tuple[list[str], bool]:
        """Send once. Returns (the good events that are not acknowledged, whether the bad event was refused)."""
        good = [text for index, text in enumerate(body) if index != bad_at]
        answer = await self._post(f'{{"events":[{",".join(body)}]}}'.encode())
        if answer is None or answer.status_code in BROKEN_OFF:
            self.tally.unknown += len(good)
            return good, False
        if answer.status_code in (429, 503):
            return good, False
        if answer.status_code != 202:
            raise NotAcknowledgedError(f"ingest answered {answer.status_code}: {answer.text[:500]}")
        told: dict[str, Any] = answer.json()
        blamed = {rejection["index"] for rejection in told["rejected"] if is_about_the_event(rejection)}
        failed = {rejection["index"] for rejection in told["rejected"]} - blamed
        if blamed != ({bad_at} - {None}) or told["accepted"] != len(body) - len(blamed) - len(failed):
            raise NotAcknowledgedError(
                f"of {len(body)} events, with a bad one at {bad_at}, ingest accepted {told['accepted']} and answered "
                f"{told['rejected'][:5]}"
            )
        self.tally.bad_events_refused += len(blamed)
        return [body[index] for index in sorted(failed)], bool(blamed)

    async def _send_bad_body(self, n: int) -> None:
        answer = await self._post(BAD_BODIES[n % len(BAD_BODIES)])
        if answer is None or answer.status_code in (429, 503, *BROKEN_OFF):
            return
        if answer.status_code != 400:
            raise NotAcknowledgedError(f"a bad body was answered {answer.status_code}: {answer.text[:500]}")

    async def _post(self, content: bytes) -> httpx2.Response | None:
        self.tally.requests += 1
        try:
            return await self._client.post("/v1/events", content=content, headers={"Content-Type": "application/json"})
        except httpx2.TransportError:
            return None

    def _texts(self, block: Block) -> list[str]:
        return texts(block, self._videos, self._kinds)


def texts(block: Block, videos: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The events of a block in JSON. Optional fields follow from the id, so that a repeat has the same ones."""
    raw = block.ids.tobytes()
    found = []
    for place, (_, video, viewed_at_ms, kind, _plan) in enumerate(block.events.tolist()):
        identity = raw[16 * place : 16 * place + 16]
        h = identity.hex()
        chance = identity[5]
        more = f',"kind":"{kinds[kind]}"' if kind or chance & 1 else ""
        if chance & 6 == 6:
            more += f',"viewer_id":"u{identity[6]}","country":"{COUNTRIES[chance >> 5].decode()}"'
        if chance & 24 == 24:
            more += f',"device":"{DEVICES[chance >> 6].decode()}"'
        at = f'"{_rfc3339(viewed_at_ms)}"' if chance % TEXT_TIME_EVERY == 0 else str(viewed_at_ms)
        found.append(
            f'{{"event_id":"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}","video_id":"{videos[video]}",'
            f'"viewed_at":{at}{more}}}'
        )
    return found


def _rfc3339(at_ms: int) -> str:
    seconds, ms = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


__all__ = ["HttpSender", "HttpTally", "NotAcknowledgedError", "texts"]
