"""Finds the manifest in force, for programs that read history and do not write it."""

from connectors.cassandra import connect
from settings import Settings
from udfs.logic.history.manifest import Manifest
from udfs.stores.history_register import CassandraRegisters
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import checked


def history_in_force(settings: Settings, history: HistoryStore) -> Manifest:
    """The manifest that the register names. Raises HistoryError and CassandraAwayError."""
    session = connect(settings.cassandra)
    try:
        register = checked(CassandraRegisters(session).read(), settings.history.path)
    finally:
        session.cluster.shutdown()
    return history.manifest(register.manifest, settings.counting.shards)
