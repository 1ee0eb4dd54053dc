"""Stop with a savepoint and go on from it: at another parallelism, exactly; with another graph, not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.golden_savepoint import COUNTING, START_MS
from tests.support.installation import Installation
from tests.support.records import MINUTE_MS, Feeder, View, count
from tests.support.waiting import eventually
from tools.recount import end_offsets
from tools.stack import FlinkCommandError, Stack

SECOND_MS = 1000
VIDEOS = 40


@pytest.fixture(scope="module")
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "upgrade", COUNTING, trusted_times=True) as made:
        yield made


def views_at(minute: int, events: int) -> list[View]:
    """Views of one minute, over all salts and, with these many videos, over all shards."""
    start = START_MS + minute * MINUTE_MS
    return [View(f"video-{n % VIDEOS}", start + n % MINUTE_MS, "like" if n % 7 == 0 else "view") for n in range(events)]


def wait_for(installation: Installation, feeder: Feeder) -> None:
    """Until the ledger names every record sent."""
    assert eventually(lambda: installation.ledger()["records"] == feeder.records), installation.ledger()


@pytest.mark.nightly
def test_counts_stay_exact_across_parallelisms_and_a_changed_graph_is_refused(installation: Installation) -> None:
    feeder = Feeder(installation.settings)
    first = views_at(0, 1200)
    feeder.send(first, START_MS + 50 * SECOND_MS)
    job = installation.start(parallelism=1)
    wait_for(installation, feeder)
    assert installation.parallelism(job) == 1
    # Unsent, unwritten or neither when the job stops: it must not matter.
    second = views_at(1, 1200)
    feeder.send(second, START_MS + 80 * SECOND_MS)
    savepoint = installation.stack.flink_stop(job)

    with pytest.raises(FlinkCommandError, match="Cannot map checkpoint/savepoint state for operator"):
        installation.start(savepoint=savepoint, script=str(Path(__file__).with_name("renamed_uid_job.py")))
    refusal = (
        r"refused: .* made by counting\.generation_ms=180000, and the settings say 240000, which is fixed: set VIEW_"
    )
    with pytest.raises(FlinkCommandError, match=refusal):
        installation.start(savepoint=savepoint, generation_ms=4 * MINUTE_MS)
    assert not installation.stack.unfinished_jobs()

    # A backlog in the same generation: unchanged repeats, repeats stamped anew, and new views.
    third = views_at(1, 400)
    repeats = [*first[:300], *second[300:600]]
    anew = [view.again(START_MS + 100 * SECOND_MS) for view in (*first[600:800], *second[800:1000])]
    feeder.send([*repeats, *anew, *third], START_MS + 100 * SECOND_MS)
    job = installation.start(parallelism=2, savepoint=savepoint)
    wait_for(installation, feeder)
    assert installation.parallelism(job) == 2
    expected = count([*first, *second, *third])
    assert eventually(lambda: installation.views() == expected), installation.views()
    assert installation.fates() == {"received": 3800, "counted": 2800, "duplicate": 1000}
    savepoint = installation.stack.flink_stop(job)

    # Right after the restore comes what is for minutes closed by now: late, and its counts stay. The generation has
    # changed: an id of the one before is still known, whatever its time; then it has changed again, and is not.
    second_generation = START_MS + 190 * SECOND_MS
    fourth = views_at(3, 400)
    feeder.send([*first[:100], *views_at(0, 100), *fourth], second_generation)
    feeder.send([view.again(second_generation) for view in (*first[:50], *third[:50])], second_generation)
    third_generation = START_MS + 370 * SECOND_MS
    returned = [view.again(third_generation) for view in first[:60]]
    feeder.send([*returned, *(view.again(third_generation) for view in fourth[:40])], third_generation)
    job = installation.start(parallelism=4, savepoint=savepoint)
    wait_for(installation, feeder)
    assert installation.parallelism(job) == 4
    expected = count([*first, *second, *third, *fourth, *returned])
    assert eventually(lambda: installation.views() == expected), installation.views()
    closed = (third_generation - COUNTING["lateness_ms"]) // MINUTE_MS - 1
    assert eventually(lambda: installation.closed_through() == closed), installation.closed_through()
    assert installation.fates() == {
        "received": feeder.events,
        "counted": 2800 + 400 + 60,
        "duplicate": 1000 + 100 + 40,
        "late": 200,
    }
    assert installation.restarts(job) == 0

    # What Kafka loses while no job runs is told.
    savepoint = installation.stack.flink_stop(job)
    kafka = installation.settings.kafka
    read = end_offsets(kafka.bootstrap_servers, kafka.events_topic)[0]
    feeder.send([], third_generation)
    end = end_offsets(kafka.bootstrap_servers, kafka.events_topic)[0]
    lost = TopicPartition(kafka.events_topic, 0, end)
    # Its thread goes when it does.
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.delete_records([lost])[lost].result(60)
    installation.start(savepoint=savepoint)
    (row,) = installation.session.execute("SELECT * FROM missing_records")
    assert (row.kafka_partition, row.next_offset) == (0, end)
    # What is read is committed with a checkpoint.
    assert row.first_offset <= read < end
