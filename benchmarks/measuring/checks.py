"""Checks a contender's counts: reads what it wrote, and compares it with what was sent. Knows no Flink."""

import json
from datetime import UTC, datetime

from cassandra.cluster import Session
from confluent_kafka import Consumer, TopicPartition

from connectors.kafka_clients import client_config
from settings import KafkaSettings
from tools.load.prediction import Cells

MINUTE_MS = 60_000
TOKEN_MIN, TOKEN_MAX = -(1 << 63), (1 << 63) - 1
# The table is summed in ranges, because a sum of the whole table in one request would time out.
TOKEN_RANGES = 64
TIMEOUT_S = 60.0


def difference(found: Cells, truth: Cells) -> str | None:
    """A text that says what is wrong; None if nothing is."""
    wrong = [cell for cell in found.keys() | truth.keys() if found.get(cell, 0) != truth.get(cell, 0)]
    if not wrong:
        return None
    first = min(wrong)
    return (
        f"{len(wrong)} of {len(truth)} counts are wrong, the first {first}: {found.get(first, 0)} instead of "
        f"{truth.get(first, 0)}; {sum(found.values())} views in all instead of {sum(truth.values())}"
    )


def results_in_topic(bootstrap_servers: str, topic: str) -> Cells:
    """Every count in a topic of JSON results. Each count must be there once; counts of the same key are added up."""
    consumer = Consumer(
        {
            **client_config(KafkaSettings(bootstrap_servers=bootstrap_servers)),
            "group.id": "benchmark",
            "enable.auto.commit": False,
        }
    )
    found: Cells = {}
    try:
        for number in consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions:
            place = TopicPartition(topic, number, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)
            consumer.assign([place])
            at = 0
            while at < end:
                message = consumer.poll(TIMEOUT_S)
                if message is None or message.error() or (value := message.value()) is None:
                    raise TimeoutError(f"topic {topic}, partition {number}: {at} of {end} records within {TIMEOUT_S} s")
                at = (message.offset() or 0) + 1
                result = json.loads(value)
                start = datetime.fromisoformat(result["minute_at"]).replace(tzinfo=UTC)
                cell = result["video_id"], result["kind"], int(start.timestamp() * 1000) // MINUTE_MS
                found[cell] = found.get(cell, 0) + result["views"]
    finally:
        consumer.close()
    return found


def views_in_cassandra(session: Session) -> tuple[int, int]:
    """(views, cells) of the session's whole keyspace."""
    select = session.prepare(
        "SELECT sum(views) AS views, count(views) AS cells FROM views_by_minute "
        "WHERE token(video_id, kind, day) >= ? AND token(video_id, kind, day) <= ?"
    )
    step = (TOKEN_MAX - TOKEN_MIN) // TOKEN_RANGES
    views = cells = 0
    for number in range(TOKEN_RANGES):
        low = TOKEN_MIN + number * step
        high = TOKEN_MAX if number == TOKEN_RANGES - 1 else low + step - 1
        row = session.execute(select, (low, high), timeout=TIMEOUT_S).one()
        views += row.views or 0
        cells += row.cells
    return views, cells
