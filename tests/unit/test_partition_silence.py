"""A partition that is silent while others are not takes no events; Kafka as a whole being away is no such thing."""

from services.ingest.partition_silence import PartitionSilence

MAX_S = 10.0


def test_a_partition_that_is_silent_alone_is_dead_until_it_acknowledges() -> None:
    silence = PartitionSilence(2, MAX_S)
    for second in range(12):
        silence.acknowledged(0, float(second))
        if second == 0:
            silence.acknowledged(1, 0.0)
        assert (silence.trouble(1, float(second)) is not None) == (second > MAX_S)
        assert silence.trouble(0, float(second)) is None
    assert silence.trouble(1, 11.0) == "partition 1 has acknowledged nothing for 11 s, while others have"
    silence.acknowledged(1, 12.0)
    assert silence.trouble(1, 12.0) is None


def test_one_that_never_acknowledged_is_dead_too() -> None:
    silence = PartitionSilence(2, MAX_S)
    for second in range(100, 112):
        silence.acknowledged(0, float(second))
    assert silence.trouble(1, 110.0) is None
    assert silence.trouble(1, 111.0) is not None


def test_nothing_is_said_of_one_partition_while_all_are_silent() -> None:
    silence = PartitionSilence(2, MAX_S)
    assert silence.trouble(0, 50.0) is None
    silence.acknowledged(0, 0.0)
    silence.acknowledged(1, 9.0)
    assert silence.trouble(0, 30.0) is None


def test_after_kafka_was_away_each_partition_has_its_time_again() -> None:
    silence = PartitionSilence(2, MAX_S)
    silence.acknowledged(0, 0.0)
    silence.acknowledged(1, 0.0)
    # It was away for long, and the first acknowledgement is of partition 0.
    silence.acknowledged(0, 60.0)
    assert silence.trouble(1, 60.0) is None
    # It was away for less than the silence that is allowed, and the client said so.
    silence.acknowledged(1, 61.0)
    silence.acknowledged(0, 69.0, was_away=True)
    assert silence.trouble(1, 72.0) is None
    silence.acknowledged(0, 75.0)
    silence.acknowledged(0, 79.5)
    assert silence.trouble(1, 79.5) is not None
