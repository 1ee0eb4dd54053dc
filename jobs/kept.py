"""Checks, before a job continues from a savepoint, that its settings fit the settings with which the state was made.

The state itself holds those settings, and operators refuse others. But they refuse only when the job runs, and again at
each restart. So Cassandra also keeps the settings of the last submission, which can be read before the job starts.
"""

import argparse
import sys

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment

from jobs.in_cassandra import in_cassandra
from settings import Settings
from udfs.logic.stream.kept_settings import ACCEPT, SettingsRefusedError, of_state
from udfs.sinks.kept_settings import check_submitted, keep_submitted

# Where `flink run -s` puts the path of the savepoint.
RESTORED_FROM = "execution.state-recovery.path"
LOOKED_AT = "the settings are not compared before the start; the operators compare them with the state when they run"
NOT_KEPT = "the settings are not kept for the next submission"


def accepts_settings(description: str | None) -> bool:
    """Whether the arguments of the process have --accept-settings. Exits if they have anything else."""
    parser = argparse.ArgumentParser(description=description)
    add_accept(parser)
    return bool(parser.parse_args().accept_settings)


def add_accept(parser: argparse.ArgumentParser) -> None:
    """Add the option --accept-settings, as `accept_settings`."""
    parser.add_argument(
        ACCEPT,
        action="store_true",
        help="Accept the settings even if the state or history does not say with which settings it was made, or if a "
        "setting has changed that may change only on request. Give it once.",
    )


def check_kept_or_exit(env: StreamExecutionEnvironment, settings: Settings, *, accepts: bool) -> None:
    """Exit with a line if the job continues from a savepoint and its settings do not fit those of the last submission.

    `accepts` allows the changes that need --accept-settings.
    """
    flink = Configuration(j_configuration=env._j_stream_execution_environment.getConfiguration())  # noqa: SLF001
    if not flink.to_dict().get(RESTORED_FROM):
        return
    kept = of_state(settings, accepts=accepts)
    try:
        lines = in_cassandra(settings, lambda session: check_submitted(session, kept), LOOKED_AT)
    except SettingsRefusedError as error:
        sys.exit(f"refused: {error}")
    for line in lines or []:
        print(line)


def keep_settings(settings: Settings) -> None:
    """Keep the settings in Cassandra for the next submission. Does not fail if Cassandra is away."""
    kept = of_state(settings)
    in_cassandra(settings, lambda session: keep_submitted(session, kept), NOT_KEPT)
