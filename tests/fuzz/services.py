"""The services that are fuzzed: the real applications over doubles of Kafka and Cassandra, open and with keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from connectors.key_file import change_keys
from schemas.access_keys import new_key
from services.ingest import app as ingest_app
from services.ingest import routes as ingest_routes
from services.ingest.writer import Share
from services.query import app as query_app
from services.query.api.operations import description as query_description
from services.server import Service
from settings import AccessSettings, IngestSettings, Settings
from tests.fuzz.wire import Wire
from tests.support.followed import Followed
from tests.support.full_tables import NOW, empty_history, full
from tests.support.ingest_writer import FakeWriter
from tests.support.keys import load_keys
from udfs.logic.wire import event_bodies

NAMES = ("ingest", "query")
# With small heads, because those that are too large are refused in a way of their own.
SERVING = IngestSettings(head_bytes_max=2048)
BODY_BYTES_MAX = 1 << 16


class ForgetfulWriter(FakeWriter):
    """Keeps nothing, so that what grows is the service's."""

    def write(self, packed: Any, *, has_overflow: bool = False) -> list[Share]:
        shares = super().write(packed, has_overflow=has_overflow)
        self.written.clear()
        return shares


class Fuzzed(NamedTuple):
    """One port of a service, what its description says, and the text of a key that it knows, or none."""

    name: str
    wire: Wire
    description: dict[str, Any]
    key: str


@contextmanager
def fuzzed(name: str, folder: Path) -> Iterator[list[Fuzzed]]:
    """Both ports of a service, in open access and with keys. Call it once in a process."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "keys.json"
    admin, text = new_key("admin", "acme")
    change_keys(file, lambda _keys: (admin,))
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for access in (AccessSettings(mode="open"), AccessSettings(mode="keys", keys_file=str(file))):
            service, public, private = _built(name, access, folder, patch)
            if access.mode == "keys":
                load_keys(service)
            key = text if access.mode == "keys" else ""
            found += [
                Fuzzed(f"{name}, {access.mode}", Wire(service, SERVING, is_private=False), public, key),
                Fuzzed(f"{name}, {access.mode}, private", Wire(service, SERVING, is_private=True), private, key),
            ]
        try:
            yield found
        finally:
            for one in found:
                one.wire.close()


def _built(
    name: str, access: AccessSettings, folder: Path, patch: pytest.MonkeyPatch
) -> tuple[Service, dict[str, Any], dict[str, Any]]:
    if name == "ingest":
        patch.setattr(ingest_app, "EventWriter", ForgetfulWriter)
        event_bodies.warm_up()
        settings = Settings(access=access, ingest=IngestSettings(body_bytes_max=BODY_BYTES_MAX))
        return ingest_app.build_service(settings), ingest_routes.OPENAPI, ingest_routes.PRIVATE_OPENAPI
    history = empty_history(folder / access.mode)
    patch.setattr(query_app, "CountStore", lambda *_: full(history))
    patch.setattr(query_app, "Following", Followed)
    service = query_app.build_service(Settings(access=access), lambda: NOW)
    return service, query_description.OPENAPI, query_description.PRIVATE_OPENAPI
