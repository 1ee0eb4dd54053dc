"""The stack that tests share; those that break parts for good or need other options start their own."""

import os
from collections.abc import Iterator
from pathlib import Path

import cassandra.cluster
import pytest
from hypothesis import settings

from tests.support.session_memory import SessionMemory
from tests.support.tiers import FAST, FAST_EXAMPLES, THOROUGH
from tools.stack import Stack, StackOptions
from tools.stack.flink import LOCAL_MEMORY
from tools.stack.layout import repository
from tools.stack.machine.environment import JAVA_OPTIONS_VARIABLE, without_proxy

# The JVMs of tests live for a minute or two. Without the optimising compiler, and without looking again whether what a
# compiler has made of Java is sound, they start sooner, and two cores have more time for what is tested.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
# For the JVM of a test's own process, and for those of its stacks, which do not see Java's variables.
os.environ.setdefault("JDK_JAVA_OPTIONS", JAVA_OPTIONS)
os.environ.setdefault(JAVA_OPTIONS_VARIABLE, JAVA_OPTIONS)
# No application that a test makes asks whatever Redis is on this machine. Stacks name their own.
os.environ.setdefault("VIEW_COUNTS_REDIS_HOST", "")
# The kernels that set-up has compiled, and whatever tests compile besides.
os.environ.setdefault("NUMBA_CACHE_DIR", str(repository() / ".local" / "numba-cache"))
# Tests ask stacks of this machine and nobody else, whatever proxy there is for others.
os.environ.update(without_proxy({}))

# Tests ask services without keys, as users of the local stack do. Tests of access say otherwise.
os.environ.setdefault("VIEW_COUNTS_ACCESS_MODE", "open")

# How long an example takes says how busy the machine is.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")
settings.register_profile(FAST, deadline=None, max_examples=FAST_EXAMPLES)
settings.register_profile(THOROUGH, deadline=None)


SHARED_PARTS = ("zookeeper", "kafka", "cassandra", "seaweedfs", "redis", "jobmanager", "taskmanager", "ingest", "query")
# With `-n`, tests of one group run in one process, one after the other, and groups begin in the order of their tests.
SHARED_STACK_GROUP = "shared stack"
# What takes long goes first, so that the processes end at about the same time.
FOLDERS = ("chaos", "upgrade", "integration", "browser", "operators", "property", "unit")


def pytest_configure(config: pytest.Config) -> None:
    """Watch the memory of the session, once: with `-n` in the process that starts the others."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SessionMemory())


# First, because xdist reads the groups in the same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A group for each stack: that of all who share one, and otherwise the file, whose fixtures are its own."""

    def is_shared(item: pytest.Item) -> bool:
        return "shared_stack" in getattr(item, "fixturenames", ())

    def place(item: pytest.Item) -> tuple[bool, int]:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        return not is_shared(item), FOLDERS.index(folder)

    items.sort(key=place)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(SHARED_STACK_GROUP if is_shared(item) else item.path.name))


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All parts, with a checkpoint every second. A test that harms a part mends it; one that needs ingest starts it."""
    options = StackOptions(
        home=tmp_path_factory.mktemp("shared-stack"),
        ports="free",
        parts=SHARED_PARTS,
        taskmanager_slots=8,
        flink_overrides={
            **LOCAL_MEMORY,
            "execution.checkpointing.interval": "1s",
            "execution.checkpointing.min-pause": "200ms",
            # What Flink says of its jobs is as old as this, 3 s by default.
            "web.refresh-interval": "200ms",
        },
        graceful_stop=False,
    )
    with Stack(options) as stack:
        # Its heartbeats would be work for all tests, and few of them ask it.
        stack.stop_part("ingest")
        yield stack


@pytest.fixture(scope="module", autouse=True)
def no_session_left_open() -> Iterator[None]:
    """A session whose stack is gone tries for ever to come back, in threads beside all later tests."""
    # The driver's own list, by which it ends them with the process.
    before = set(cassandra.cluster._clusters_for_shutdown)
    yield
    left = set(cassandra.cluster._clusters_for_shutdown) - before
    for cluster in left:
        cluster.shutdown()
    assert not left, f"sessions of Cassandra at {[cluster.endpoints_resolved for cluster in left]} were left open"
