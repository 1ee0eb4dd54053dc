"""What a job is not submitted with, and how it is said: a line that names the setting, its value and what to do."""

import pytest
from pydantic import ValidationError

from jobs.submission import refused_flink_settings, settings_or_exit
from settings import Settings
from settings.refused import refused_settings

GOOD = {"execution.checkpointing.interval": "5s", "python.execution-mode": "process"}


def lines(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(f"VIEW_COUNTS_{name}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    return refused_settings(caught.value)


def test_one_field_is_named_with_its_variable_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = lines(monkeypatch, COUNTING_EMIT_INTERVAL_MS="3")
    assert line.startswith("refused: VIEW_COUNTS_COUNTING_EMIT_INTERVAL_MS=3: ")


@pytest.mark.parametrize(
    ("variables", "beginning"),
    [
        ({"COUNTING_GENERATION_MS": "60000"}, "refused: generation_ms=60000 must be at least"),
        ({"COUNTING_MAX_PARALLELISM": "100"}, "refused: max_parallelism=100 is not a multiple of salts=16"),
        ({"KAFKA_PARTITIONS": "3"}, "refused: kafka.partitions=3 does not divide counting.salts=16"),
        ({"JOB_DEDUP_PARALLELISM": "3"}, "refused: job.dedup_parallelism=3 does not divide counting.salts=16"),
        ({"JOB_WINDOW_PARALLELISM": "16"}, "refused: job.window_parallelism=16 does not divide counting.shards=8"),
    ],
)
def test_a_rule_over_several_fields_is_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], beginning: str
) -> None:
    (line,) = lines(monkeypatch, **variables)
    assert line.startswith(beginning)
    assert "\n" not in line


def test_the_driver_ends_with_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIEW_COUNTS_COUNTING_SALTS", "many")
    with pytest.raises(SystemExit, match="refused: VIEW_COUNTS_COUNTING_SALTS=many: "):
        settings_or_exit()


def test_the_job_s_own_configuration_is_fine() -> None:
    assert refused_flink_settings(GOOD, 128, Settings()) == []


@pytest.mark.parametrize(
    ("flink", "parallelism", "beginning"),
    [
        ({"execution.checkpointing.interval": None}, 1, "refused: execution.checkpointing.interval=None: "),
        ({"execution.checkpointing.interval": "0 ms"}, 1, "refused: execution.checkpointing.interval=0 ms: "),
        ({"execution.checkpointing.mode": "AT_LEAST_ONCE"}, 1, "refused: execution.checkpointing.mode=AT_LEAST_ONCE: "),
        ({"python.execution-mode": "thread"}, 1, "refused: python.execution-mode=thread: "),
        ({}, 129, "refused: parallelism=129 is above VIEW_COUNTS_COUNTING_MAX_PARALLELISM=128"),
    ],
)
def test_what_the_promise_cannot_be_kept_with_is_refused(
    flink: dict[str, str | None], parallelism: int, beginning: str
) -> None:
    configuration = {name: value for name, value in {**GOOD, **flink}.items() if value is not None}
    (line,) = refused_flink_settings(configuration, parallelism, Settings())
    assert line.startswith(beginning)
