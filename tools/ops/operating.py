"""What all commands of operators share: they begin with the settings, and print errors as plain lines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from pydantic import ValidationError

from connectors.kafka_clients import client_config
from connectors.secret_files import SecretFileError
from settings import KafkaSettings, Settings
from settings.refused import refused_settings

# How long Kafka may take for its first answer. The user of a command waits for it.
KAFKA_ANSWERS_S = 10.0


@contextmanager
def operating(*mendable: type[Exception], kafka: bool = False) -> Iterator[Settings]:
    """The settings of the environment, for the body of a command.

    An error that an operator can correct ends the command with exit code 1 and its text, without a traceback. These are
    refused settings, a server that does not answer (the line names the setting with its address), and the errors in
    `mendable`, whose texts say what to do. With `kafka` the command first checks that Kafka answers.
    """
    from confluent_kafka import KafkaException

    try:
        settings = Settings()
    except ValidationError as error:
        end_with("\n".join(refused_settings(error)))
    # If Cassandra is away, there is a ConnectionError whose text names the settings itself.
    plain: tuple[type[Exception], ...] = (ConnectionError, SecretFileError, *mendable)
    try:
        if kafka:
            _reach(settings.kafka)
        yield settings
    except BrokenPipeError:
        # The program that reads the output has ended, as `head` does.
        raise
    except KafkaException as error:
        end_with(f"{_place_of(settings.kafka)}: {error.args[0].str()}")
    except plain as error:
        end_with(str(error))
    # pyarrow raises OSError for all errors of the object store.
    except OSError as error:
        end_with(f"VIEW_COUNTS_S3_ENDPOINT={settings.s3.endpoint}: {error}")


def end_with(text: str) -> NoReturn:
    """End the command with a text on standard error and exit code 1."""
    typer.echo(text, err=True)
    raise typer.Exit(1) from None


def _reach(kafka: KafkaSettings) -> None:
    """Send Kafka a request, and end the command with one line if it does not answer.

    Without this, the clients of a command would print a line for each attempt, many times a second, and at the end say
    only that there was no answer.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    reasons: list[KafkaError] = []
    configuration: dict[str, Any] = {
        **client_config(kafka),
        "error_cb": reasons.append,
    }
    client = AdminClient(configuration)
    try:
        client.list_topics(timeout=KAFKA_ANSWERS_S)
    except KafkaException as error:
        client.poll(0)
        # The first error names the address and the cause. Later errors repeat it.
        reason = (reasons or [error.args[0]])[0].str()
        end_with(f"no Kafka at {_place_of(kafka)}; check that it runs and that the address is right ({reason})")


def _place_of(kafka: KafkaSettings) -> str:
    return f"VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS={kafka.bootstrap_servers}"
