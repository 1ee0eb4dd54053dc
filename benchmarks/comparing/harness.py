"""Runs a contender on the stack: checks it, submits it, samples until the steady state ends, checks again, cancels."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from cassandra.cluster import Session
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from benchmarks.comparing.lineup import Contender, Scale
from benchmarks.inputs.events import DISORDER_MS, EVENTS_PER_MINUTE, MINUTE_MS, Stream, Topic
from benchmarks.inputs.names import COUNTED_GAUGE
from benchmarks.measuring.checks import difference, results_in_topic, views_in_cassandra
from benchmarks.measuring.cpu import cpu_seconds
from benchmarks.measuring.progress import Progress
from benchmarks.measuring.steady import Rule, Sample, first_progress, is_over, steady
from connectors.cassandra import connect, migrate
from settings import CassandraSettings, Settings
from tools.metadata import VideoMetadata, publish
from tools.stack import Stack

SAMPLE_S = 1.0
# How long the first record may take after the submission.
START_S = 120.0
# How long counting the rest of a topic may take. The slowest sink needs more than a hundred seconds.
SETTLE_S = 360.0


class ContenderError(RuntimeError):
    """A contender did not run, or counted wrongly."""


class Bench:
    """Runs contenders on one stack."""

    def __init__(self, stack: Stack, stream: Stream, by_name: dict[str, Topic], scale: Scale) -> None:
        self._stack = stack
        self._stream = stream
        self._topics = by_name
        self._scale = scale
        self._is_metadata_published = False
        # The first minute can close after an event with its end plus the lateness, in append time and in event time.
        horizon_ms = Settings().counting.lateness_ms + MINUTE_MS + DISORDER_MS
        self._closing_after = horizon_ms * EVENTS_PER_MINUTE // MINUTE_MS

    def run(self, contender: Contender, turn: int, *, is_checked: bool = True) -> dict[str, Any]:
        """Measure a contender and check its counts, if `is_checked`. Returns the entry for the results.

        Turn 0 is the first run. If the counts of a measured run cannot be checked, a run on a shorter topic is checked
        before turn 0. Raises ContenderError, TooShortError, FlinkCommandError.
        """
        if contender.check_topic is not None and turn == 0:
            self._check_run(contender)
        topic = self._topics[contender.topic]
        session: Session | None = None
        arguments = [*self._flink_options(contender), *contender.arguments, "--topic", topic.name]
        if contender.kind == "e":
            self._publish_metadata()
        if contender.kind in ("b", "e"):
            keyspace = f"{contender.name}-{turn}".replace("-", "_")
            session = self._keyspace(keyspace)
            arguments += ["--keyspace", keyspace]
        rule = Rule(topic.filled, self._closing_after, self._scale.length_s, self._scale.patience_s)
        submitted_at = time.monotonic()
        job = self._stack.flink_run(arguments)
        try:
            progress = Progress(self._stack, job, topic.name, topic.events_until())
            samples = self._sample(job, progress, rule, submitted_at)
            figures = steady(samples, rule)
            busy_ms = progress.busy_ms()
            if not is_checked:
                pass
            elif contender.kind in ("a", "f"):
                self._settle("counted events", lambda: progress.gauge(COUNTED_GAUGE), topic.fresh)
            elif session is not None:
                self._settle("views in Cassandra", lambda: views_in_cassandra(session)[0], topic.fresh)
                self._settle("cells", lambda: views_in_cassandra(session)[1], len(self._stream.truth(topic.filled)))
        finally:
            try:
                # A job that has not read its whole topic is stopped and not cancelled: see docs/decisions/0023.
                self._end(job, "cancel" if is_checked else "stop")
                if session is not None:
                    # Cassandra's later work for this keyspace must not slow down the next contender.
                    session.execute(f"DROP KEYSPACE {session.keyspace}")
            finally:
                if session is not None:
                    session.cluster.shutdown()
        first = first_progress(samples)
        assert first is not None
        return {
            "name": contender.name,
            "turn": turn,
            "kind": contender.kind,
            "title": contender.title,
            "state": contender.state,
            "events_per_batch": contender.events_per_batch,
            "events_per_record": round(topic.events_per_record, 1),
            "events_in_topic": topic.filled,
            "busy_ms": busy_ms,
            "start_up_s": round(first.at_s - submitted_at, 1),
            "steady": {
                "seconds": round(figures.seconds, 1),
                "events": figures.events,
                "events_per_s": round(figures.events_per_s),
                "minutes_closing": figures.is_closing,
                "cpu_s_per_million": {name: round(s, 2) for name, s in figures.cpu_s_per_million.items()},
                "cpu_s_per_million_all": round(figures.cpu_s_per_million_all, 2),
            },
            "checked": _checked(contender) if is_checked else "nothing",
        }

    def _publish_metadata(self) -> None:
        """Publish metadata of every video, once."""
        if self._is_metadata_published:
            return
        self._is_metadata_published = True
        kafka = Settings().kafka.model_copy(update={"bootstrap_servers": self._stack.endpoints["kafka"]})
        videos = (
            VideoMetadata(
                name, f"The title of {name}, as long as most", f"channel-{at % 997}", f"Channel {at % 997}", at
            )
            for at, name in enumerate(self._stream.videos)
        )
        publish(kafka, videos)

    def _flink_options(self, contender: Contender) -> list[str]:
        return [f"-Dstate.backend.type={contender.state}"]

    def _sample(self, job: str, progress: Progress, rule: Rule, submitted_at: float) -> list[Sample]:
        samples: list[Sample] = []
        while not is_over(samples, rule):
            # The events and the CPU time are read one right after the other, within some milliseconds.
            events = progress.events()
            samples.append(Sample(time.monotonic(), events, cpu_seconds(self._stack)))
            if first_progress(samples) is None and time.monotonic() - submitted_at > START_S:
                raise ContenderError(f"no event was read within {START_S:.0f} s:\n{self._exceptions()}")
            # A restart counts as a failure, because the job then reads events again and the rate would be wrong.
            if failures := self._failures([job]):
                raise ContenderError(f"the job failed or restarted:\n{failures}")
            time.sleep(SAMPLE_S)
        return samples

    def _check_run(self, contender: Contender) -> None:
        """Run the same job to the end of a short topic, and check every count, which it writes to Kafka."""
        assert contender.check_topic is not None
        topic = self._topics[contender.check_topic]
        servers = self._stack.endpoints["kafka"]
        name = f"results-{contender.name}"
        # The variable keeps the client alive: if it were collected, its requests would end with it.
        admin = AdminClient({"bootstrap.servers": servers})
        admin.create_topics([NewTopic(name, num_partitions=1)])[name].result()
        job = self._stack.flink_run(
            [
                *self._flink_options(contender), *contender.arguments,
                "--topic", topic.name, "--results-topic", name,
            ]
        )  # fmt: skip
        self._settle("state of the check run", lambda: self._stack.jobs().get(job), "FINISHED")
        wrong = difference(results_in_topic(servers, name), self._stream.truth(topic.filled))
        if wrong is not None:
            raise ContenderError(f"{contender.name} counts wrongly: {wrong}")

    def _settle(self, what: str, ask: Callable[[], object], expected: object) -> None:
        deadline = time.monotonic() + SETTLE_S
        while (found := ask()) != expected:
            if time.monotonic() > deadline or found in ("FAILED", "CANCELED"):
                raise ContenderError(f"{what}: {found} instead of {expected}\n{self._exceptions()}")
            time.sleep(1.0)

    def _keyspace(self, name: str) -> Session:
        settings = CassandraSettings(keyspace=name, port=self._stack.ports["cassandra"])
        migrate(settings.contact_points, settings.port, settings)
        return connect(settings)

    def _end(self, job: str, how: str) -> None:
        if job in self._stack.unfinished_jobs():
            self._stack.flink(how, job)
        self._settle("unfinished jobs", lambda: len(self._stack.unfinished_jobs()), 0)
        self._settle("Python workers left", lambda: len(self._stack.python_workers()), 0)

    def _exceptions(self) -> str:
        return self._failures(self._stack.jobs()) or self._stack.logs("taskmanager", 20)

    def _failures(self, jobs: Iterable[str]) -> str:
        """The last failure of each job."""
        found = []
        for job in jobs:
            told = self._stack.flink_rest(f"/jobs/{job}/exceptions") or {}
            found += [entry["stacktrace"][:2000] for entry in told.get("exceptionHistory", {}).get("entries", [])[:1]]
        return "\n".join(found)


def _checked(contender: Contender) -> str:
    return "the whole topic" if contender.check_topic is None else "every count of a shorter topic"
