"""Compares the tallies of producers, which count what Kafka has acknowledged, with the ledger.

It asks each ingest process for GET /v1/tally, and reads the ledger in Cassandra for the minutes of arrival that the
stream has closed. The audit compares the ledger with the archive (jobs/audit.py).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx2
import msgspec

from connectors.cassandra import connect
from schemas.progress import PIPELINE, ShardProgress, complete_through
from settings import CassandraSettings
from udfs.logic.audit.accounts import EQUAL, UNKNOWN, WRONG, Amount, ProducersVerdict, ProducerTally, compare_producers

TIMEOUT_S = 10.0
MINUTES_AT_ONCE = 60
SHOWN_MAX = 20


class _Minute(msgspec.Struct):
    start: datetime
    events: int
    records: int


class _Answer(msgspec.Struct):
    producer_id: str
    minutes: list[_Minute]


def read_tally(content: bytes) -> ProducerTally:
    """The tally in an answer of GET /v1/tally. Raises msgspec.DecodeError or ValidationError if it is none."""
    answer = msgspec.json.decode(content, type=_Answer)
    minutes = {_minute(one.start): Amount(one.events, one.records) for one in answer.minutes}
    return ProducerTally(answer.producer_id, minutes)


def told(verdicts: Sequence[ProducersVerdict]) -> str:
    """The report: a line for each of the first minutes that are wrong, and a last line with the sums."""
    lines = []
    for one in [one for one in verdicts if one.verdict == WRONG][:SHOWN_MAX]:
        at = datetime.fromtimestamp(one.minute * 60, UTC)
        lines.append(
            f"{at:%Y-%m-%dT%H:%MZ}: the ledger has {one.received.events:,} events of {one.received.records:,} records, "
            f"Kafka has acknowledged {one.acknowledged.events:,} of {one.acknowledged.records:,}: run the audit"
        )
    number = Counter(one.verdict for one in verdicts)
    received, acknowledged = (
        sum(getattr(one, side).events for one in verdicts) for side in ("received", "acknowledged")
    )
    lines.append(
        f"{len(verdicts)} minutes: {number[EQUAL]} equal, {number[UNKNOWN]} unknown, {number[WRONG]} wrong; producers "
        f"that were asked wrote {acknowledged:,} of {received:,} events"
    )
    return "\n".join(lines)


def is_wrong(verdicts: Iterable[ProducersVerdict]) -> bool:
    """Whether the ledger lacks anything that was acknowledged."""
    return any(one.verdict == WRONG for one in verdicts)


def compare(
    cassandra: CassandraSettings, tally: Iterable[str], warn: Callable[[str], None]
) -> Sequence[ProducersVerdict]:
    """The verdict on each closed minute in which the processes of ingest at these URLs wrote.

    If a process does not answer, `warn` is called with a line that names it, and minutes in which it may have written
    are unknown. Raises CassandraAwayError.
    """
    producers = []
    for url in tally:
        try:
            content = httpx2.get(f"{url}/v1/tally", timeout=TIMEOUT_S, trust_env=False).raise_for_status().content
            producers.append(read_tally(content))
        except (httpx2.HTTPError, httpx2.InvalidURL, msgspec.MsgspecError) as error:
            warn(f"--tally {url} does not answer, so the minutes in which it wrote are unknown: {error}")
    session = connect(cassandra)
    try:
        closed = closed_minute(session)
        minutes = sorted({minute for one in producers for minute in one.minutes if minute < closed})
        return compare_producers(received_in(session, minutes), producers, minutes)
    finally:
        session.cluster.shutdown()


def closed_minute(session: Any) -> int:
    """The minute, since 1970, before which all shards have closed all minutes; 0 until each has closed one."""
    rows = session.execute("SELECT shard, shards, closed_through FROM progress WHERE pipeline = %s", (PIPELINE,))
    closed = complete_through([ShardProgress(*row) for row in rows])
    return 0 if closed is None else _minute(closed)


def received_in(session: Any, minutes: Sequence[int]) -> dict[int, Amount]:
    """What was received in these minutes of arrival by the ledger, over all salts."""
    events, records = Counter[int](), Counter[int]()
    asked = session.prepare("SELECT minute, received, records FROM ledger WHERE minute IN ?")
    for at in range(0, len(minutes), MINUTES_AT_ONCE):
        times = [datetime.fromtimestamp(minute * 60, UTC) for minute in minutes[at : at + MINUTES_AT_ONCE]]
        for minute, received, of in session.execute(asked, (times,)):
            events[_minute(minute)] += received or 0
            records[_minute(minute)] += of or 0
    return {minute: Amount(events[minute], records[minute]) for minute in records}


def _minute(at: datetime) -> int:
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) // 60
