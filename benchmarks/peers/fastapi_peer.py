"""A plain ingest service in FastAPI, fastavro and kafka-python, as its documentation suggests to write one.

It reads {"events": [...]}, checks every event by a Pydantic model, writes each as one record with acks=all, and answers
when Kafka has acknowledged all of them. benchmarks/contenders/ingest_services.py says what it guarantees less.
"""

import argparse
import io
import json
import time
import uuid
from pathlib import Path
from typing import Annotated, Any

import fastavro
import uvicorn
from fastapi import FastAPI, HTTPException
from kafka import KafkaProducer
from kafka.errors import KafkaError
from pydantic import BaseModel, Field

SCHEMA = Path(__file__).parents[2] / "schemas" / "avro" / "ViewEvent.v1.avsc"
ACKNOWLEDGED_WITHIN_S = 30


class Event(BaseModel):
    """One event, with the bounds of services/ingest in characters."""

    video_id: Annotated[str, Field(min_length=1, max_length=64)]
    event_id: uuid.UUID = Field(default_factory=uuid.uuid4)
    viewed_at: int | None = None
    kind: Annotated[str, Field(min_length=1, max_length=32)] = "view"
    viewer_id: Annotated[str, Field(max_length=64)] | None = None
    country: Annotated[str, Field(max_length=64)] | None = None
    device: Annotated[str, Field(max_length=64)] | None = None


class Events(BaseModel):
    """The body of a request."""

    events: list[Event]


class Answer(BaseModel):
    """What became of the events."""

    accepted: int


def build_app(brokers: str, topic: str) -> FastAPI:
    """The application, with a producer of its own."""
    schema = fastavro.parse_schema(json.loads(SCHEMA.read_text(encoding="utf-8")))
    producer = KafkaProducer(bootstrap_servers=brokers, acks="all")
    app = FastAPI()

    def encoded(event: Event) -> bytes:
        fields: dict[str, Any] = event.model_dump()
        fields["event_id"] = event.event_id.bytes
        fields["viewed_at"] = int(time.time() * 1000) if event.viewed_at is None else event.viewed_at
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, fields)
        return out.getvalue()

    # Not async: it waits for Kafka, so FastAPI runs it in a thread.
    @app.post("/v1/events", status_code=202)
    def post_events(body: Events) -> Answer:
        sent = [producer.send(topic, key=event.event_id.bytes, value=encoded(event)) for event in body.events]
        try:
            for one in sent:
                one.get(timeout=ACKNOWLEDGED_WITHIN_S)
        except KafkaError as error:
            raise HTTPException(503, str(error)) from error
        return Answer(accepted=len(sent))

    @app.get("/readyz")
    def readyz() -> str:
        return "ready"

    return app


def main() -> None:
    """Serve until SIGTERM."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--brokers", required=True)
    arguments.add_argument("--topic", required=True)
    given = arguments.parse_args()
    uvicorn.run(build_app(given.brokers, given.topic), host="127.0.0.1", port=given.port, access_log=False)


if __name__ == "__main__":
    main()
