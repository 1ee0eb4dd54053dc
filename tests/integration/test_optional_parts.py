"""Every topic and table that counts do without, taken away under load: minutes, hours and totals are counted right."""

from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest
from confluent_kafka.admin import AdminClient

from connectors.compacted_topic import read_to_end
from tests.support.installation import PROMPT, Installation
from tests.support.metadata import Publisher, titles
from tests.support.records import MINUTE_MS, Feeder, View, count
from tests.support.repeating import Repeating
from tests.support.waiting import eventually
from tools.stack import Stack
from tools.stack.machine.ports import HOST
from udfs.stores.archive import Archive, filesystem

# 2026-01-31 22:00 UTC.
START_MS = 1_769_896_800_000
VIDEOS = 9
# All of them: what is dropped here is what docs/operations.md says counts do without.
DROPPED = (
    "DROP TABLE top_videos",
    "DROP TABLE top_videos_by_hour",
    "DROP TABLE top_videos_by_day",
    "ALTER TABLE views_by_minute DROP title",
    "ALTER TABLE views_by_minute DROP channel_name",
)


@pytest.fixture
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "optional-parts", {**PROMPT, "rank_interval_ms": 300}, trusted_times=True) as made:
        # Nothing here is about slices, and there would be hundreds.
        history = made.settings.history.model_copy(update={"slice_events_max": 100_000})
        made.settings = made.settings.model_copy(update={"history": history})
        yield made


class Load(Repeating):
    """Sends views of one minute after the other, until it is stopped."""

    def __init__(self, feeder: Feeder) -> None:
        super().__init__(0.5)
        self._feeder = feeder
        self._minute = 0
        self.sent: list[View] = []

    @property
    def end_ms(self) -> int:
        return START_MS + self._minute * MINUTE_MS

    def step(self) -> None:
        at_ms = self.end_ms
        views = [View(f"video-{n % VIDEOS}", at_ms + n, "like" if n % 4 == 0 else "view") for n in range(40)]
        self._feeder.send(views, at_ms + MINUTE_MS - 1)
        self.sent += views
        self._minute += 1

    def counted(self, installation: Installation) -> bool:
        """Whether all that was sent when this was asked is counted."""
        wanted = count(list(self.sent))

        def is_there() -> bool:
            views = installation.views()
            return all(views.get(cell, 0) >= number for cell, number in wanted.items())

        return eventually(is_there)


def figure(stack: Stack, name: str) -> float:
    """The sum of a figure of all operators, as Prometheus sees it."""
    text = httpx2.get(f"http://{HOST}:{stack.ports['taskmanager_metrics']}/metrics", timeout=30).text
    lines = (line for line in text.splitlines() if line.partition("{")[0].endswith(name))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.nightly
def test_counts_are_right_without_any_of_what_is_optional(installation: Installation) -> None:
    stack, session, kafka = installation.stack, installation.session, installation.settings.kafka
    archive = Archive(filesystem(installation.settings.s3), installation.settings.archive.path)
    feeder = Feeder(installation.settings)
    Publisher(installation).titles({f"video-{n}": f"Title {n}" for n in range(VIDEOS)})
    installation.start(script="jobs/archive_events.py")
    job = installation.start(parallelism=2)
    with Load(feeder) as load:
        assert eventually(lambda: None not in titles(installation).values() and len(titles(installation)) > VIDEOS)
        assert eventually(lambda: session.execute("SELECT about FROM top_videos LIMIT 1").one() is not None)
        assert next(read_to_end(kafka, kafka.counts_topic, 60)).value
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        for future in admin.delete_topics([kafka.counts_topic, kafka.metadata_topic]).values():
            future.result(60)
        for statement in DROPPED:
            session.execute(statement, timeout=60)
        restarts = installation.restarts(job)
        assert load.counted(installation)
        for name in ("view_counts", "top_videos", "about_of_lists"):
            assert eventually(lambda name=name: figure(stack, f"set_aside_{name}") > 0), name  # type: ignore[misc]
        assert installation.restarts(job) == restarts == 0
        # What was there when the job began is missing now.
        stack.kill("taskmanager")
        assert load.counted(installation)
        assert eventually(lambda: installation.is_running(job))
        assert load.counted(installation)
        # An hour later, so that hours are over.
        assert eventually(lambda: load.end_ms >= START_MS + 61 * MINUTE_MS)
    expected = count(load.sent)
    assert eventually(lambda: installation.views() == expected)
    feeder.send([], load.end_ms + 61 * MINUTE_MS)

    def archived() -> bool:
        files, partitions = archive.files(), range(kafka.partitions)
        found = [len(list(archive.read_partition(f for f in files if f.partition == p))) for p in partitions]
        return sum(found) == feeder.records

    assert eventually(archived)
    assert "run 1: " in installation.run(script="jobs/rollup.py")
    row = session.execute("SELECT complete_through FROM view_totals LIMIT 1").one()
    through_minute = round(row.complete_through.timestamp()) // 60
    assert through_minute >= START_MS // MINUTE_MS + 60
    totals: Counter[tuple[str, str]] = Counter()
    for (video, kind, minute), views in expected.items():
        totals[video, kind] += views if minute < through_minute else 0
    rows = session.execute("SELECT video_id, kind, views FROM view_totals")
    assert {(row.video_id, row.kind): row.views for row in rows} == totals
    hours: Counter[tuple[str, str]] = Counter()
    for row in session.execute("SELECT video_id, kind, views FROM views_by_hour"):
        hours[row.video_id, row.kind] += row.views
    assert hours == totals
