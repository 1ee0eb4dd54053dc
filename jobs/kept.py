"""What is looked at before a job goes on from a savepoint: that its settings are those that the state was made by.

The state says it itself, and its operators refuse others, again at each restart. So what the count job was last
submitted with is kept in Cassandra too, where it can be read before anything is stopped or started.
"""

import argparse
import sys

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment

from jobs.in_cassandra import in_cassandra
from settings import Settings
from udfs.logic.stream.kept_settings import ACCEPT, SettingsRefusedError, of_state
from udfs.sinks.kept_settings import check_submitted, keep_submitted

# Where `flink run -s` puts it.
RESTORED_FROM = "execution.state-recovery.path"
LOOKED_AT = "the settings are looked at in the state alone"
NOT_KEPT = "the settings are not kept for the next submission"


def accepts_settings(description: str | None) -> bool:
    """Whether the job's arguments say so. Exits when they say something else."""
    parser = argparse.ArgumentParser(description=description)
    add_accept(parser)
    return bool(parser.parse_args().accept_settings)


def add_accept(parser: argparse.ArgumentParser) -> None:
    """Its option, `accept_settings`."""
    parser.add_argument(ACCEPT, action="store_true", help="once, for what does not say by which settings it was made")


def check_kept_or_exit(env: StreamExecutionEnvironment, settings: Settings, *, accepts: bool) -> None:
    """Exits with a line when the job is to go on from a savepoint under other settings than it was submitted with."""
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
    """For the next submission. A store that is away is no reason not to count: the state says it, too."""
    kept = of_state(settings)
    in_cassandra(settings, lambda session: keep_submitted(session, kept), NOT_KEPT)
