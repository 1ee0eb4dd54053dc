"""Notices and leases help where their server answers, and nothing fails where it does not."""

import threading
import time
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from connectors import overflow_hints
from connectors.overflow_hints import NoHints, RedisHints, SqsHints, hints_of
from settings import OverflowSettings, RedisSettings, Settings

QUEUE = "https://sqs.eu-west-1.amazonaws.com/1/overflow"


def sqs() -> Any:
    return boto3.client("sqs", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")


def test_a_notice_of_sqs_reaches_one_drainer_and_others_leave_the_object_to_it() -> None:
    client = sqs()
    made_ms = round(time.time() * 1000)
    with Stubber(client) as stub:
        stub.add_response("send_message", {}, {"QueueUrl": QUEUE, "MessageBody": "a.avro"})
        received = {"Messages": [{"Body": "a.avro", "ReceiptHandle": "r"}]}
        asked = {"QueueUrl": QUEUE, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 3}
        stub.add_response("receive_message", received, asked)
        deleted = {"QueueUrl": QUEUE, "Entries": [{"Id": "0", "ReceiptHandle": "r"}]}
        stub.add_response("delete_message_batch", {"Successful": [], "Failed": []}, deleted)
        told, other = SqsHints(client, QUEUE), SqsHints(client, QUEUE)
        told.tell("a.avro")
        told.wait(3, threading.Event())
        stub.assert_no_pending_responses()
    assert told.lease("a.avro", made_ms)
    assert not other.lease("a.avro", made_ms)
    assert other.lease("a.avro", made_ms - 60_000), "whoever was told may be gone"


def test_a_queue_that_refuses_stops_nobody() -> None:
    client = sqs()
    with Stubber(client) as stub:
        stub.add_client_error("send_message", "AccessDenied")
        stub.add_client_error("receive_message", "AccessDenied")
        hints = SqsHints(client, QUEUE)
        hints.tell("a.avro")
        hints.wait(0.01, threading.Event())


def test_without_redis_nothing_waits_and_every_lease_is_given() -> None:
    # Nobody listens there.
    hints = hints_of(Settings(redis=RedisSettings(host="127.0.0.1", port=1)), "me")
    assert isinstance(hints, RedisHints)
    hints.tell("a.avro")
    hints.wait(0.01, threading.Event())
    assert hints.lease("a.avro", 0)
    ended = threading.Event()
    ended.set()
    hints.wait(60, ended)


def test_the_settings_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(hints_of(Settings(), "me"), NoHints)
    asked: list[str] = []
    monkeypatch.setattr(overflow_hints, "SqsHints", lambda _client, url: asked.append(url))
    hints_of(Settings(overflow=OverflowSettings(queue_url=QUEUE)), "me")
    assert asked == [QUEUE]
