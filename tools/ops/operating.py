"""What every command of operators begins and ends with: the settings, and errors as plain lines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from pydantic import ValidationError

from settings import KafkaSettings, Settings
from settings.refused import refused_settings

# How long Kafka may take for its first answer. Whoever types a command waits for it.
KAFKA_ANSWERS_S = 10.0


@contextmanager
def operating(*mendable: type[Exception], kafka: bool = False) -> Iterator[Settings]:
    """The settings, as the environment has them, for the body of a command.

    An error that an operator can mend ends the command with exit code 1 and its text, without a traceback. These are
    settings that are refused, a server that does not answer (the line names the setting that says where it is), and
    the errors in `mendable`, whose texts say what to do. With `kafka` Kafka is asked first whether it is there.
    """
    from confluent_kafka import KafkaException

    try:
        settings = Settings()
    except ValidationError as error:
        end_with("\n".join(refused_settings(error)))
    # Cassandra's absence is a ConnectionError, which names its settings itself.
    plain: tuple[type[Exception], ...] = (ConnectionError, *mendable)
    try:
        if kafka:
            _reach(settings.kafka)
        yield settings
    except BrokenPipeError:
        # The reader of the output has gone, as `head` does.
        raise
    except KafkaException as error:
        end_with(f"{_place_of(settings.kafka)}: {error.args[0].str()}")
    except plain as error:
        end_with(str(error))
    # Any other is the object store's, as pyarrow raises it.
    except OSError as error:
        end_with(f"VIEW_COUNTS_S3_ENDPOINT={settings.s3.endpoint}: {error}")


def end_with(text: str) -> NoReturn:
    """End the command with a text on standard error and exit code 1."""
    typer.echo(text, err=True)
    raise typer.Exit(1) from None


def _reach(kafka: KafkaSettings) -> None:
    """Ask Kafka for anything, and end the command with one line when it does not answer.

    Other clients print a line for each attempt, many times a second, and say at the end only that there was no answer.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    reasons: list[KafkaError] = []
    configuration: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        # Only what is critical.
        "log_level": 2,
        "error_cb": reasons.append,
    }
    client = AdminClient(configuration)
    try:
        client.list_topics(timeout=KAFKA_ANSWERS_S)
    except KafkaException as error:
        client.poll(0)
        # The first names the address and what happened; later ones repeat it.
        reason = (reasons or [error.args[0]])[0].str()
        end_with(f"no Kafka at {_place_of(kafka)}; is it up, and is the address right? ({reason})")


def _place_of(kafka: KafkaSettings) -> str:
    return f"VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS={kafka.bootstrap_servers}"
