"""Notices and leases over a real Redis."""

import threading
from pathlib import Path

from connectors.overflow_hints import RedisHints
from connectors.redis_client import blocking_redis_client
from settings import RedisSettings
from tests.support.valkey import running_valkey
from tools.stack.machine.ports import HOST


def test_a_notice_wakes_every_drainer_and_a_lease_has_one_holder(tmp_path: Path) -> None:
    with running_valkey(tmp_path) as server:
        settings = RedisSettings(host=HOST, port=server.port, timeout_ms=5000)
        ingest, *drainers = (RedisHints(blocking_redis_client(settings), f"p{n}") for n in range(3))
        ended = threading.Event()
        for one in drainers:
            one.wait(0.01, ended)
        ingest.tell("a.avro")
        for one in drainers:
            one.wait(3600, ended)
        some, other = drainers
        assert (some.lease("a.avro", 0), other.lease("a.avro", 0), some.lease("a.avro", 0)) == (True, False, True)
        assert other.lease("b.avro", 0)
