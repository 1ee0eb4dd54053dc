"""The stack that tests share; those that break parts for good or need other options start their own."""

import os
from collections.abc import Iterator

import pytest

from tools.stack import Stack, StackOptions

# The JVMs of tests live for a minute or two. Without the optimising compiler they start sooner, and two cores have more
# time for what is tested.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All parts that a count job needs, with a checkpoint every second. Whoever harms a part mends it."""
    options = StackOptions(
        home=tmp_path_factory.mktemp("shared-stack"),
        ports="free",
        parts=("zookeeper", "kafka", "cassandra", "seaweedfs", "jobmanager", "taskmanager"),
        taskmanager_slots=8,
        flink_overrides={"execution.checkpointing.interval": "1s", "execution.checkpointing.min-pause": "200ms"},
        graceful_stop=False,
    )
    with Stack(options) as stack:
        yield stack
