"""Makes topics, tables, the register and the bucket ready: `python -m tools.stack.provision WHAT...`.

WHAT is "topics", "tables", "register" or "lifecycle". It is a program of its own, because it reads settings from the
environment, and the stack's environment is not that of the process which starts the stack. It may be repeated: it runs
at every start, so that a newer clone updates older data.
"""

import sys
import time

from pyarrow.fs import FileType

from settings import Settings

# How long the object store may take to answer.
STORE_S = 60.0


def topics() -> None:
    """Create the topics that are missing, and declare salts and partitions if they are not declared."""
    from connectors.installation import ensure_topics  # noqa: PLC0415 - each half needs one client library

    for one in ensure_topics(Settings()):
        print(f"note: {one.line}")


def tables() -> None:
    """Apply the CQL migrations that have not been applied."""
    from connectors.cassandra import migrate  # noqa: PLC0415 - each half needs one client library

    cassandra = Settings().cassandra
    migrate(cassandra.contact_points, cassandra.port, cassandra)


def register() -> None:
    """Make the register of history if there is none. Waits for the object store, which may still be starting."""
    from tools.ops.history import init  # noqa: PLC0415 - as above
    from udfs.stores.archive import filesystem  # noqa: PLC0415

    settings = Settings()
    bucket = settings.history.path.removeprefix("s3://").split("/")[0]
    deadline_s = time.monotonic() + STORE_S
    while True:
        try:
            if filesystem(settings.s3).get_file_info(bucket).type is not FileType.NotFound:
                break
        except OSError:
            if time.monotonic() > deadline_s:
                raise
        if time.monotonic() > deadline_s:
            break
        time.sleep(0.5)
    init()


def lifecycle() -> None:
    """Remove the rule of the bucket that removed raw events in versions before the rollup did."""
    from tools.stack.lifecycle import withdraw_old_rule  # noqa: PLC0415 - as above

    withdraw_old_rule(Settings())


STEPS = {"topics": topics, "tables": tables, "register": register, "lifecycle": lifecycle}

if __name__ == "__main__":
    for what in sys.argv[1:]:
        STEPS[what]()
