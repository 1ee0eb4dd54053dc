"""Records that ingest makes are below what their topic takes, whatever settings and events are."""

from schemas.topics import RECORD_BYTES_MAX
from services.ingest.packing import EVENT_BYTES_MAX, batch_value
from services.ingest.tally import IngestTally
from services.ingest.writer import EventWriter
from settings import CountingSettings, IngestSettings, Settings

# What Kafka's clients add to a value: the heads of a batch and of the record in it, with its key.
CLIENTS_BYTES = 61 + 64


def test_the_largest_record_of_ingest_is_taken() -> None:
    ingest = IngestSettings(batch_events_max=100_000)
    counting = CountingSettings(salts=128)
    settings = Settings(ingest=ingest, counting=counting)
    writer = EventWriter(settings, producer_id="p" * 255, tally=IngestTally(ingest.tally_minutes))
    blocks = [bytes(EVENT_BYTES_MAX)] * writer._events_max
    value = batch_value(blocks, writer._events_max, producer_id="p" * 255, salt=127, salts=128, now_ms=2**62)
    assert RECORD_BYTES_MAX * 0.99 < len(value) <= RECORD_BYTES_MAX - CLIENTS_BYTES
