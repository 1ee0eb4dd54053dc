"""Notices of new objects of overflow, and leases of drainers: hints, which may be lost, late or wrong. Calls block.

An object that nobody was told of is found by a listing, and two drainers of one object do no harm. So no method raises
an error of its server: a notice that cannot be told is not told, and a lease that nobody can give is given.
"""

import contextlib
import threading
import time
from typing import Any, Protocol

import redis
import structlog

from connectors.redis_client import blocking_redis_client
from settings import Settings

LOG = structlog.get_logger("overflow")
STREAM = "view-counts:overflow"
LEASE = "view-counts:overflow-lease:"
# So many notices stay. Drainers that lag behind find the objects by listing.
NOTICES_MAX = 1000
LEASE_S = 60.0
POLL_S = 0.25
# A drainer that was not told of an object leaves it for so long to the one that was.
UNTOLD_S = 30.0
SQS_WAIT_S_MAX = 20
SQS_MESSAGES_MAX = 10


class Hints(Protocol):
    """What ingest tells drainers, and drainers each other."""

    def tell(self, name: str) -> None:
        """Tell drainers of a new object."""

    def wait(self, seconds: float, ended: threading.Event) -> None:
        """Return after a time, or when there is a notice, or `ended` is set."""

    def lease(self, name: str, made_ms: int, /) -> bool:
        """Return whether no other drainer is known to be at this object, which was made at `made_ms`."""


class NoHints:
    """Where there is neither Redis nor a queue."""

    def tell(self, name: str) -> None:
        """See Hints."""

    def wait(self, seconds: float, ended: threading.Event) -> None:
        """See Hints."""
        ended.wait(seconds)

    def lease(self, _name: str, _made_ms: int) -> bool:
        """See Hints."""
        return True


class RedisHints:
    """A stream for notices, which wake every drainer, and a key with an expiry for each lease."""

    def __init__(self, client: "redis.Redis", holder: str) -> None:
        self._redis: Any = client
        self._holder = holder
        self._last = "$"

    def tell(self, name: str) -> None:
        """See Hints."""
        with contextlib.suppress(redis.RedisError, OSError):
            self._redis.xadd(STREAM, {"name": name}, maxlen=NOTICES_MAX, approximate=True)

    def wait(self, seconds: float, ended: threading.Event) -> None:
        """See Hints."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                if self._is_told():
                    return
            except (redis.RedisError, OSError):
                ended.wait(left_s)
                return
            if ended.wait(min(POLL_S, left_s)):
                return

    def _is_told(self) -> bool:
        if self._last == "$":
            newest = self._redis.xrevrange(STREAM, count=1)
            self._last = newest[0][0] if newest else "0-0"
            return False
        found = self._redis.xread({STREAM: self._last}, count=NOTICES_MAX)
        if not found:
            return False
        self._last = found[0][1][-1][0]
        return True

    def lease(self, name: str, _made_ms: int) -> bool:
        """See Hints."""
        try:
            if self._redis.set(LEASE + name, self._holder, nx=True, px=int(LEASE_S * 1000)):
                return True
            return bool(self._redis.get(LEASE + name) == self._holder.encode())
        except (redis.RedisError, OSError):
            return True


class SqsHints:
    """A queue of AWS SQS. A notice reaches one drainer, and others leave the object to it for a while."""

    def __init__(self, client: Any, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url
        # Names that this process was told of, and when.
        self._told: dict[str, float] = {}

    def tell(self, name: str) -> None:
        """See Hints."""
        try:
            self._client.send_message(QueueUrl=self._queue_url, MessageBody=name)
        # The client raises errors of several libraries, and none of them matters.
        except Exception as error:
            LOG.warning("a notice was not told", reason=f"{type(error).__name__}: {error}")

    def wait(self, seconds: float, ended: threading.Event) -> None:
        """See Hints."""
        if ended.is_set():
            return
        wait_s = min(int(seconds), SQS_WAIT_S_MAX)
        try:
            answer = self._client.receive_message(
                QueueUrl=self._queue_url, MaxNumberOfMessages=SQS_MESSAGES_MAX, WaitTimeSeconds=wait_s
            )
            messages = answer.get("Messages", [])
            if messages:
                entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(messages)]
                self._client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
        except Exception as error:
            LOG.warning("notices cannot be received", reason=f"{type(error).__name__}: {error}")
            ended.wait(seconds)
            return
        now_s = time.monotonic()
        self._told = {name: at_s for name, at_s in self._told.items() if now_s - at_s < LEASE_S}
        self._told |= {one["Body"]: now_s for one in messages}

    def lease(self, name: str, made_ms: int) -> bool:
        """See Hints."""
        return name in self._told or time.time() * 1000 - made_ms > UNTOLD_S * 1000


def hints_of(settings: Settings, holder: str) -> Hints:
    """The hints that the settings name. `holder` is the name of this process."""
    if settings.overflow.queue_url:
        # Imported here, because it takes a third of a second.
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        # A call that receives waits for SQS_WAIT_S_MAX at most.
        config = Config(connect_timeout=2, read_timeout=SQS_WAIT_S_MAX + 5, retries={"total_max_attempts": 1})
        client = boto3.client("sqs", region_name=settings.s3.region, config=config)
        return SqsHints(client, settings.overflow.queue_url)
    if settings.redis.host:
        return RedisHints(blocking_redis_client(settings.redis), holder)
    return NoHints()
