"""The enrich stage with each thing gone that counts do without: elements go through, and titles are written later."""

from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from settings import CassandraSettings, JobSettings, KafkaSettings, Settings
from tests.support.fake_cassandra import FakeCassandra, FakeTime
from tests.unit.test_metadata_writer import about
from tests.unit.test_optional_topic import FakeProducer
from udfs.logic.minutes.cells import Cell, dated_row
from udfs.logic.ranking.lists import Ranked
from udfs.logic.stream.kept_settings import of_state
from udfs.logic.stream.window import Ranking
from udfs.logic.wire.keyed_records import Keyed
from udfs.operators import enrich
from udfs.operators.elements import Changes, Top
from udfs.operators.enrich import Enrich
from udfs.sinks.metadata_writer import ABOUTS, TITLES
from udfs.sinks.optional_rows import PATIENCE_S
from udfs.sinks.optional_topic import OptionalTopic
from udfs.sources import compacted

MINUTE = 29_400_000
VIDEOS = [b"v%d" % n for n in range(5)]


class State(dict[str, bytes]):
    """Stands for Flink's map state."""

    put = dict.__setitem__
    remove = dict.__delitem__


class Value:
    """Stands for Flink's state of one value."""

    def __init__(self) -> None:
        self._value: bytes | None = None

    def value(self) -> bytes | None:
        """What is there."""
        return self._value

    def update(self, value: bytes) -> None:
        """Put another one there."""
        self._value = value


class Bench:
    """One subtask and all that it reaches."""

    def __init__(self) -> None:
        self.cassandra, self.time, self.producer = FakeCassandra(), FakeTime(), FakeProducer()
        self.metadata: dict[str, bytes] | None = {name.decode(): about(name.decode()) for name in VIDEOS}
        self.state, self.settings = State(), Value()
        self.gauges: dict[str, Callable[[], int]] = {}
        self.timers: list[int] = []
        self._minute = MINUTE
        timers = SimpleNamespace(
            current_processing_time=lambda: round(self.time.now_s * 1000),
            register_processing_time_timer=self.timers.append,
        )
        self._context: Any = SimpleNamespace(get_current_key=lambda: 3, timer_service=lambda: timers)

    def read_to_end(self, *_: object) -> Iterator[Any]:
        if self.metadata is None:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        for offset, (name, rest) in enumerate(self.metadata.items()):
            yield name.encode(), rest, 0, offset

    def open(self) -> Enrich:
        """A subtask that has just started."""
        made = Enrich(KafkaSettings(), CassandraSettings(), JobSettings(untitled_max=1000), of_state(Settings()))
        context: Any = SimpleNamespace(
            get_map_state=lambda _descriptor: self.state,
            get_state=lambda _descriptor: self.settings,
            get_metrics_group=lambda: SimpleNamespace(gauge=self.gauges.__setitem__),
        )
        made.open(context)
        for rows in (made._writer._titles, made._writer._about):
            rows._clock, rows._sleep = self.time.clock, self.time.sleep
        return made

    def element(self, subtask: Enrich) -> None:
        """Counts of another minute, of all videos, and a list of them; and the timer, when it is due."""
        self._minute += 1440
        rows = b"".join(dated_row(Cell(name, b"view", self._minute, 1)) for name in VIDEOS)
        subtask.process_element(Changes(0, [rows], []), self._context)
        ranking = Ranking("minute", self._minute, 5, {b"view": [Ranked(name, 1, 0) for name in VIDEOS]})
        subtask.process_element(Top(0, [ranking]), self._context)
        self.time.now_s += 1
        self.timer(subtask)

    def timer(self, subtask: Enrich) -> None:
        """Whatever is due."""
        due = [at for at in self.timers if at <= self.time.now_s * 1000]
        for at in due:
            self.timers.remove(at)
            list(subtask.on_timer(at, self._context))

    def titled(self) -> int:
        return sum(batch.number for batch in self.cassandra.rows.get("views_by_minute", []))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench()
    topic = partial(OptionalTopic, make_producer=made.producer.make, clock=lambda: made.producer.now_s)
    monkeypatch.setattr(enrich, "connect_however_long", lambda _settings: made.cassandra)
    monkeypatch.setattr(enrich, "OptionalTopic", topic)
    monkeypatch.setattr(enrich, "METADATA_WAIT_S", 0.5)
    monkeypatch.setattr(enrich, "read_metadata", lambda key, value: Keyed(key.decode(), value))
    monkeypatch.setattr(enrich, "broadcast_descriptor", lambda _name: None)
    monkeypatch.setattr(enrich, "MapStateDescriptor", lambda *_: None)
    monkeypatch.setattr(enrich, "Types", SimpleNamespace(PRIMITIVE_ARRAY=id, BYTE=int, STRING=int))
    monkeypatch.setattr(compacted, "read_to_end", made.read_to_end)
    monkeypatch.setattr(compacted, "PATIENCE_S", 1e9)
    monkeypatch.setattr(compacted, "AGAIN_S", 0.01)
    with made.cassandra.driven():
        yield made


def test_with_everything_there_all_is_written(bench: Bench) -> None:
    subtask = bench.open()
    for _ in range(10):
        bench.element(subtask)
    assert bench.titled() == len(bench.producer.accepted) == 50
    assert len(bench.cassandra.rows["top_videos"]) == 10
    assert {name for name, gauge in bench.gauges.items() if gauge()} == {"held_bytes", "budget_bytes"}


def test_without_titles_and_lists_elements_go_through_and_titles_come_later(bench: Bench) -> None:
    bench.cassandra.missing = {"views_by_minute", "top_videos"}
    subtask = bench.open()
    for _ in range(50):
        bench.element(subtask)
    assert len(bench.producer.accepted) == 250
    # One wait for each of the two tables, however many elements.
    assert sum(bench.time.slept) < 4 * PATIENCE_S
    assert bench.gauges["optional_out"]() == 2
    assert bench.gauges[f"set_aside_{ABOUTS}"]() == 50
    # Not given up: those that are no older than their table keeps them.
    assert bench.gauges[f"set_aside_{TITLES}"]() == 0
    assert len(bench.state) == len(VIDEOS)
    bench.cassandra.missing = set()
    for _ in range(200):
        bench.time.now_s += 1
        bench.timer(subtask)
    assert bench.titled() == 5 * 8
    assert bench.state == {}
    assert bench.gauges["optional_out"]() == 1
    bench.element(subtask)
    assert bench.gauges["optional_out"]() == 0


def test_without_view_counts_titles_are_written(bench: Bench) -> None:
    bench.producer.topic_gone = True
    subtask = bench.open()
    for _ in range(10):
        bench.element(subtask)
    assert bench.titled() == 50
    assert bench.gauges["set_aside_view_counts"]() == 50
    assert bench.producer.now_s == 0


@pytest.mark.slow
def test_without_metadata_elements_go_through_and_are_titled_when_it_is_there(bench: Bench) -> None:
    known, bench.metadata = bench.metadata, None
    subtask = bench.open()
    bench.element(subtask)
    assert len(bench.producer.accepted) == 5
    assert (bench.titled(), len(bench.state), bench.gauges["metadata_unread"]()) == (0, 5, 1)
    bench.metadata = known
    subtask._metadata.take_read(subtask._enrichment.learn, 10)
    assert bench.gauges["metadata_unread"]() == 0
    bench.element(subtask)
    bench.time.now_s += 10
    bench.timer(subtask)
    assert bench.titled() == 10
    assert bench.state == {}
