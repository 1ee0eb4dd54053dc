"""Sessions are made, and migrations applied, on a Cassandra with TLS and passwords; others are not let in.

The query service reads there, and its password is nowhere that somebody else could read.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.cassandra import CassandraAwayError, connect, migrate, migrations
from settings import CassandraSettings
from tests.support.secret_places import Secret, files_below, places_of, service_says
from tests.support.secured_kafka import STORE_PASSWORD, make_certificate, write_secret
from tests.support.services import service
from tests.support.waiting import eventually
from tools.stack.layout import Layout
from tools.stack.machine.ports import HOST, free_ports
from tools.stack.parts import PARTS_BY_NAME, Context

# Cassandra itself creates this role, and this is its first password.
ROLE = FIRST_PASSWORD = "cassandra"


@pytest.fixture(scope="module")
def cassandra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CassandraSettings]:
    layout, ports = Layout(tmp_path_factory.mktemp("secured-cassandra")), free_ports()
    layout.make_folders()
    store, authority, secret = (layout.home / name for name in ("node.p12", "ca.pem", "password"))
    make_certificate(store, authority)
    write_secret(secret, FIRST_PASSWORD)
    part = PARTS_BY_NAME["cassandra"]
    for name, render in part.files.items():
        (layout.conf / name).write_text(render(layout, ports), encoding="utf-8")
    secured = json.loads((layout.conf / "cassandra.yaml").read_text(encoding="utf-8")) | {
        "authenticator": "PasswordAuthenticator",
        "client_encryption_options": {
            "enabled": True, "optional": False, "keystore": str(store), "keystore_password": STORE_PASSWORD,
            "store_type": "PKCS12",
        },
    }  # fmt: skip
    (layout.conf / "cassandra.yaml").write_text(json.dumps(secured), encoding="utf-8")
    context = Context(layout, ports, {}, os.environ)
    part.prepare(context)
    java, *arguments = part.command(context)
    with (layout.home / "cassandra.log").open("ab") as log:
        # It would create its role only after ten seconds.
        command = [java, "-Dcassandra.superuser_setup_delay_ms=0", *arguments]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    settings = CassandraSettings(
        hosts=HOST, port=ports["cassandra"], username=ROLE, password_file=str(secret), tls=True, ca_file=str(authority)
    )
    try:
        assert eventually(lambda: lets_in(settings), poll_s=1), (layout.home / "cassandra.log").read_text()
        yield settings
    finally:
        process.kill()
        process.wait()


def lets_in(settings: CassandraSettings) -> bool:
    try:
        connect(settings, keyspace=None).cluster.shutdown()
    except CassandraAwayError:
        return False
    return True


@pytest.mark.nightly
def test_tables_are_made_by_who_has_the_password(cassandra: CassandraSettings, tmp_path: Path) -> None:
    assert len(migrate([HOST], cassandra.port, cassandra)) == len(migrations())
    session = connect(cassandra)
    try:
        assert session.execute("SELECT count(*) AS number FROM schema_migrations").one().number == len(migrations())
    finally:
        session.cluster.shutdown()

    (tmp_path / "password").write_text("guessed", encoding="utf-8")
    for others in (
        {"password_file": str(tmp_path / "password")},
        {"username": None, "password_file": None},
        # The system's authorities do not know this server.
        {"ca_file": None},
        {"tls": False, "ca_file": None},
    ):
        assert not lets_in(cassandra.model_copy(update=others)), others


@pytest.mark.nightly
def test_the_password_of_query_is_nowhere(cassandra: CassandraSettings) -> None:
    password = f"turbot-{uuid.uuid4().hex}"
    folder = Path(str(cassandra.ca_file)).parent
    write_secret(folder / "query-password", password)
    migrate([HOST], cassandra.port, cassandra)
    session = connect(cassandra)
    try:
        session.execute(f"CREATE ROLE IF NOT EXISTS reader WITH LOGIN = true AND PASSWORD = '{password}'")
    finally:
        session.cluster.shutdown()
    reader = cassandra.model_copy(update={"username": "reader", "password_file": str(folder / "query-password")})
    variables = {
        f"VIEW_COUNTS_CASSANDRA_{name}".upper(): str(value)
        for name, value in reader.model_dump().items()
        if value is not None
    }
    private = free_ports(("query",))["query"]
    known = [Secret("query's password", password, frozenset({folder / "query-password"}))]
    with service("query", variables, log=folder / "query.log", private_port=private) as url:
        said = [
            *service_says(url, ("/v1/videos/A/views", "/v1/ledger", "/openapi.json", "/readyz")),
            *service_says(f"http://{HOST}:{private}", ("/metrics", "/readyz")),
        ]
        assert places_of(known, files_below(folder), said) == []
    # A refused role is told of in no other way.
    write_secret(folder / "query-password", f"{password}-no-more")
    assert not lets_in(reader)
    assert places_of(known, files_below(folder), []) == []
