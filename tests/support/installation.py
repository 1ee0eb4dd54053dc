"""An installation of its own on a shared stack: topics, tables and count jobs that no other test sees.

Starting a stack takes longer than most tests, so tests share one and are kept apart by names. Knows the product's
settings, topics and tables, not its rules.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any, Self

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from connectors.cassandra import connect, migrate
from connectors.installation import ensure_topics
from schemas.topics import topics
from settings import (
    ArchiveSettings,
    CassandraSettings,
    CountingSettings,
    ErasureSettings,
    HistorySettings,
    KafkaSettings,
    PackSettings,
    Settings,
)
from tests.support.jobs import cancel
from tests.support.metrics import samples
from tests.support.waiting import eventually
from tools.history import make_register
from tools.stack import Stack
from tools.stack.files import S3_BUCKET
from tools.stack.machine.ports import HOST
from tools.stack.object_store import s3_settings
from udfs.stores.archive import filesystem
from udfs.stores.history_register import CassandraRegisters
from udfs.stores.history_store import HistoryStore

COUNT_JOB = "jobs/view_counts.py"
RESTARTS = "flink_jobmanager_job_numRestarts"
FATES = ("received", "counted", "duplicate", "late", "invalid", "blocked", "dead_lettered")
COLUMNS = (*FATES, "records", "unreadable_records", "clamped_records")
Cell = tuple[str, str, int]
# Counting settings by which what is sent is written at once, and no test waits for it.
PROMPT = {
    "flush_interval_ms": 100,
    "emit_interval_ms": 100,
    "catch_up_flush_interval_ms": 100,
    "catch_up_emit_interval_ms": 100,
}


class Installation:
    """One name's topics, keyspace and jobs. Enter it to create them; on exit its jobs are cancelled.

    With `trusted_times` the events topic takes each record's own timestamp as append time (CreateTime), so that a
    test can move the clock of the counting rules as far as it likes.
    """

    def __init__(
        self, stack: Stack, name: str, counting: Mapping[str, int], *, trusted_times: bool, partitions: int = 4
    ) -> None:
        self.stack = stack
        self.trusted_times = trusted_times
        self.settings = Settings(
            counting=CountingSettings(**counting),
            kafka=KafkaSettings(
                bootstrap_servers=stack.endpoints["kafka"],
                events_topic=f"{name}-events",
                declaration_topic=f"{name}-declaration",
                late_topic=f"{name}-late",
                dead_letter_topic=f"{name}-dead-letter",
                metadata_topic=f"{name}-metadata",
                blocked_topic=f"{name}-blocked",
                counts_topic=f"{name}-counts",
                partitions=partitions,
            ),
            pack=PackSettings(source_topic=f"{name}-single"),
            s3=s3_settings(stack),
            archive=ArchiveSettings(path=f"s3://{S3_BUCKET}/{name}/archive", roll_ms=1000),
            # So few events that an hour is several slices.
            history=HistorySettings(path=f"s3://{S3_BUCKET}/{name}/history", slice_events_max=40),
            erasure=ErasureSettings(path=f"s3://{S3_BUCKET}/{name}/erasures"),
            cassandra=CassandraSettings(hosts=HOST, port=stack.ports["cassandra"], keyspace=name.replace("-", "_")),
        )
        self._jobs: list[str] = []

    def __enter__(self) -> Self:
        self._create_topics()
        migrate([HOST], self.settings.cassandra.port, self.settings.cassandra)
        make_register(
            CassandraRegisters(self.session),
            HistoryStore(filesystem(self.settings.s3), self.settings.history.path),
            self.settings.history.path,
            now_ms=int(time.time() * 1000),
            has_totals=lambda: False,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def beside(self, keyspace: str, history_path: str) -> Self:
        """The same topics and archive with other tables and history, of which neither is made; to be closed."""
        cassandra = self.settings.cassandra.model_copy(update={"keyspace": keyspace})
        history = self.settings.history.model_copy(update={"path": history_path})
        other = copy(self)
        other.__dict__.pop("session", None)
        other.settings = self.settings.model_copy(update={"cassandra": cassandra, "history": history})
        other._jobs = []
        return other

    def close(self) -> None:
        """Cancel what this one has started, and let go of the tables."""
        for job in set(self._jobs) & self.stack.unfinished_jobs().keys():
            cancel(self.stack, job)
        if "session" in self.__dict__:
            self.session.cluster.shutdown()

    def _create_topics(self) -> None:
        kafka = self.settings.kafka
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        # Others' topics are not the product's to create.
        new = [NewTopic(self.settings.pack.source_topic, 4, 1)]
        if self.trusted_times:
            # Kafka would refuse timestamps far ahead and delete, by their timestamps, records far behind.
            free = {
                "message.timestamp.type": "CreateTime",
                "message.timestamp.after.max.ms": str(2**62),
                "retention.ms": "-1",
            }
            events = topics(self.settings)[0]
            new.append(NewTopic(events.name, events.partitions, 1, config={**events.config, **free}))
        for future in admin.create_topics(new).values():
            future.result(60)
        ensure_topics(self.settings, [f"{kafka.events_topic} message.timestamp.type=CreateTime"])

    # --- jobs

    def environment(self, **counting: int) -> dict[str, str]:
        """This installation's settings, some counting settings changed, as a job's driver reads them."""
        groups = {
            group: getattr(self.settings, group).model_dump()
            for group in ("counting", "kafka", "cassandra", "pack", "archive", "history", "erasure")
        }
        groups["counting"].update(counting)
        return {
            f"VIEW_COUNTS_{group}_{field}".upper(): str(value)
            for group, fields in groups.items()
            for field, value in fields.items()
            if value is not None
        }

    def start(
        self,
        *,
        parallelism: int = 1,
        savepoint: str | None = None,
        script: str = COUNT_JOB,
        options: Sequence[str] = (),
        **counting: int,
    ) -> str:
        """Submit the count job, or another that counts, with some counting settings changed; its id.

        `options` are the script's. Raises FlinkCommandError when Flink refuses.
        """
        restore = [] if savepoint is None else ["-s", savepoint]
        arguments = [*restore, "-p", str(parallelism), "-py", script, *options]
        job = self.stack.flink_run(arguments, variables=self.environment(**counting))
        self._jobs.append(job)
        return job

    def run(self, *, script: str, parallelism: int = 1) -> str:
        """Run a job to its end; what its submission printed. Raises FlinkCommandError when it fails."""
        arguments = ("run", "-p", str(parallelism), "-py", *script.split())
        return self.stack.flink(*arguments, variables=self.environment())

    def is_running(self, job: str) -> bool:
        """Whether every task of the job runs."""
        answer = self.stack.flink_rest(f"/jobs/{job}") or {"vertices": []}
        return bool(answer["vertices"]) and all(v["status"] == "RUNNING" for v in answer["vertices"])

    def parallelism(self, job: str) -> int:
        """The parallelism of the job, which its readers of compacted topics alone do not share."""
        return max(int(vertex["parallelism"]) for vertex in self.stack.flink_rest(f"/jobs/{job}")["vertices"])

    def restarts(self, job: str) -> int:
        """How often Flink has restarted the job. The metric is there a few seconds after the job."""
        found: list[int] = []

        def known() -> bool:
            there = (one for one in samples(self.stack, "jobmanager") if one.name == RESTARTS)
            found.extend(int(one.value) for one in there if one.labels["job_id"] == job)
            return bool(found)

        assert eventually(known), f"job {job} has no metric {RESTARTS}"
        return found[-1]

    # --- results

    @cached_property
    def session(self) -> Any:
        """A Cassandra session on this installation's keyspace."""
        return connect(self.settings.cassandra)

    def views(self) -> dict[Cell, int]:
        """Every stored count by (video, kind, epoch minute)."""
        rows = self.session.execute("SELECT video_id, kind, minute, views FROM views_by_minute")
        return {(row.video_id, row.kind, round(row.minute.timestamp()) // 60): row.views for row in rows}

    def ledger(self) -> Counter[str]:
        """The ledger's sums over all minutes and salts."""
        total: Counter[str] = Counter()
        for row in self.session.execute("SELECT * FROM ledger"):
            total.update({name: getattr(row, name) or 0 for name in COLUMNS})
        return total

    def fates(self) -> dict[str, int]:
        """The ledger's sums of events by fate, those that are not 0, with what was received."""
        total = self.ledger()
        return {fate: total[fate] for fate in FATES if total[fate]}

    def closed_through(self) -> int | None:
        """The last epoch minute that every shard has closed; None until all have said so."""
        rows = list(self.session.execute("SELECT shards, closed_through FROM progress"))
        if not rows or len(rows) < rows[0].shards:
            return None
        seconds: list[int] = [round(row.closed_through.timestamp()) for row in rows]
        return min(seconds) // 60 - 1
