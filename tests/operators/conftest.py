"""A Flink client in the test's own process: builds graphs, asks Flink's own code, and needs no cluster."""

import os
from collections.abc import Iterator

import pytest

from tools.stack import flink
from tools.stack.layout import Layout
from tools.stack.machine.ports import free_ports


@pytest.fixture(scope="session")
def flink_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Lets PyFlink's gateway find our jars; it is started by the first call and ends with this process."""
    layout = Layout(tmp_path_factory.mktemp("flink-client"))
    layout.make_folders()
    ports = free_ports()
    flink.write_configuration(layout, flink.settings(layout, ports, {}), ports)
    before = dict(os.environ)
    os.environ.update(flink.environment(layout))
    yield
    for name in flink.environment(layout):
        del os.environ[name]
    os.environ.update(before)
