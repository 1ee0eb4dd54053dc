"""Makes all Cassandra sessions, and applies the migrations that create the tables. Knows no Flink.

Migrations are the files schemas/cql/NNN_name.cql. They are applied in the order of their names and recorded in the
table `schema_migrations`. A file that was applied never changes again: a change goes into a new file.
"""

import hashlib
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, TokenAwarePolicy

from connectors.secret_files import SecretFileError, read_secret
from settings import CassandraSettings, Settings

MIGRATIONS = Path(__file__).parent.parent / "schemas" / "cql"
RECONNECT_FIRST_S = 0.25
RECONNECT_MAX_S = 5.0
# By default Cassandra warns of CQL batches above 5 KiB or 10 partitions, and the driver logs each warning. Most batches
# of the sink are larger.
_WARNS = "cassandra.protocol"
_BATCH_WARNINGS = ("Server warning: Batch for ", "Server warning: Unlogged batch covering ")


class CassandraAwayError(ConnectionError):
    """No contact point answered. The caller may try again."""


class MigrationChangedError(RuntimeError):
    """A migration file is no longer the same as when it was applied."""


@dataclass(frozen=True)
class Migration:
    """One file of schemas/cql."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self) -> list[str]:
        """The CQL statements in order, without comments and semicolons.

        It relies on two rules for schemas/cql: comments are on lines of their own, and literals hold no semicolon.
        """
        lines = [line for line in self.text.splitlines() if not line.lstrip().startswith("--")]
        return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


def migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """Every migration in the order in which they are applied."""
    return [Migration(path.stem, path.read_text()) for path in sorted(folder.glob("[0-9]*.cql"))]


def connect(cassandra: CassandraSettings, keyspace: str | None = "") -> Session:
    """A new session. Its keyspace is that of the settings if `keyspace` is "", and none if it is None.

    It reads and writes at LOCAL_QUORUM, and sends requests to replicas in `local_dc` first. One request takes at most
    `request_timeout_s`. The session reconnects by itself. `session.cluster.shutdown()` ends it and its threads. Raises
    CassandraAwayError if no contact point answers, and SecretFileError.
    """
    logging.getLogger(_WARNS).addFilter(_is_no_batch_warning)
    cluster = Cluster(
        cassandra.contact_points,
        port=cassandra.port,
        protocol_version=5,
        execution_profiles={
            EXEC_PROFILE_DEFAULT: ExecutionProfile(
                load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(local_dc=cassandra.local_dc)),
                consistency_level=ConsistencyLevel.LOCAL_QUORUM,
                request_timeout=cassandra.request_timeout_s,
            )
        },
        reconnection_policy=ExponentialReconnectionPolicy(RECONNECT_FIRST_S, RECONNECT_MAX_S, max_attempts=None),
        connect_timeout=cassandra.request_timeout_s,
        # A connection first reads the schema. On a busy server that takes longer than the driver's default of 2 s.
        control_connection_timeout=cassandra.request_timeout_s,
        auth_provider=_login(cassandra),
        ssl_context=_encryption(cassandra),
    )
    try:
        return cluster.connect(cassandra.keyspace if keyspace == "" else keyspace)
    except NoHostAvailable as error:
        cluster.shutdown()
        raise CassandraAwayError(
            f"no Cassandra at cassandra.hosts={cassandra.hosts} port={cassandra.port} in "
            f"local_dc={cassandra.local_dc}; check that it runs and that this is the name of its data centre ({error})"
        ) from error
    except BaseException:
        cluster.shutdown()
        raise


def _login(cassandra: CassandraSettings) -> PlainTextAuthProvider | None:
    if cassandra.username is None or cassandra.password_file is None:
        return None
    password = read_secret("cassandra.password_file", cassandra.password_file)
    return PlainTextAuthProvider(cassandra.username, password)


def _encryption(cassandra: CassandraSettings) -> ssl.SSLContext | None:
    if not cassandra.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=cassandra.ca_file)
        if cassandra.certificate_file is not None:
            context.load_cert_chain(cassandra.certificate_file, cassandra.key_file)
    except OSError as error:
        # It names no file.
        raise SecretFileError(
            f"cassandra.ca_file={cassandra.ca_file} certificate_file={cassandra.certificate_file} "
            f"key_file={cassandra.key_file} cannot be used ({error}); mount PEM files there, readable for this user"
        ) from error
    context.check_hostname = cassandra.tls_names
    return context


def _is_no_batch_warning(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_BATCH_WARNINGS)


def migrate(hosts: Sequence[str], port: int, cassandra: CassandraSettings | None = None) -> list[str]:
    """Create the keyspace, apply the migrations that are missing, and return their names in order.

    It may be repeated and may be interrupted, because every statement of a migration can run twice. Raises
    MigrationChangedError if an applied file was changed, and CassandraAwayError if no contact point answers.
    """
    base = cassandra or Settings().cassandra
    here = base.model_copy(update={"hosts": ",".join(hosts), "port": port})
    session = connect(here, keyspace=None)
    try:
        session.execute(
            f"CREATE KEYSPACE IF NOT EXISTS {here.keyspace} WITH replication = "
            f"{{'class': 'NetworkTopologyStrategy', '{here.local_dc}': {here.replication_factor}}}"
        )
        session.set_keyspace(here.keyspace)
        session.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, checksum text, applied_at timestamp)"
        )
        return _apply_missing(session)
    finally:
        session.cluster.shutdown()


def _apply_missing(session: Any) -> list[str]:
    applied = {row.name: row.checksum for row in session.execute("SELECT name, checksum FROM schema_migrations")}
    done = []
    for migration in migrations():
        if migration.name in applied:
            if applied[migration.name] != migration.checksum:
                raise MigrationChangedError(
                    f"schemas/cql/{migration.name}.cql was changed after it was applied; restore the file and "
                    "put the change into a new migration"
                )
            continue
        for statement in migration.statements():
            session.execute(statement)
        session.execute(
            "INSERT INTO schema_migrations (name, checksum, applied_at) VALUES (%s, %s, toTimestamp(now()))",
            (migration.name, migration.checksum),
        )
        done.append(migration.name)
    return done
