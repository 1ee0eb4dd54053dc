"""Lists the contenders of the throughput benchmark, their topics, and how many events they read. Starts nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from benchmarks.inputs.events import Topic, batches_topic, plain_batches_topic, single_topic

JOBS = "benchmarks/contenders"
BATCHES = (50, 200, 2000)
SQL_BATCH = 2000
SQL_DEDUPS = ("window", "ttl")


@dataclass(frozen=True)
class Scale:
    """How many events are read and for how long. The numbers are what the fastest contender of a kind can read."""

    batches: dict[int, int]
    cassandra: int
    plain_batches: int
    single: int
    naive: int
    check: int
    naive_check: int
    length_s: float
    patience_s: float


FULL = Scale(
    batches={50: 6_000_000, 200: 16_000_000, 2000: 40_000_000},
    cassandra=16_000_000,
    plain_batches=5_000_000,
    single=4_000_000,
    naive=100_000,
    check=200_000,
    naive_check=3_000,
    length_s=30.0,
    patience_s=45.0,
)
QUICK = Scale(
    batches={50: 1_000_000, 200: 2_000_000, 2000: 4_000_000},
    cassandra=2_000_000,
    plain_batches=2_000_000,
    single=2_000_000,
    naive=60_000,
    check=100_000,
    naive_check=1_000,
    length_s=15.0,
    patience_s=15.0,
)


@dataclass(frozen=True)
class Contender:
    """One line of the table. `arguments` are those of `flink run`; a check run adds its topic of results."""

    name: str
    kind: str
    title: str
    topic: str
    arguments: tuple[str, ...]
    state: str = "rocksdb"
    events_per_batch: int = 1
    check_topic: str | None = None


def contenders() -> list[Contender]:
    """All contenders, in the order in which they run."""
    found = []
    for size in BATCHES:
        for kind, sink in (("a", "discard"), ("b", "cassandra")):
            found.append(
                Contender(
                    name=f"{kind}-{size}",
                    kind=kind,
                    title=f"count job to {'a discarding sink' if kind == 'a' else 'Cassandra'}, batches of {size}",
                    topic=f"{'batches' if kind == 'a' else 'to-cassandra'}-{size}",
                    arguments=("-py", f"{JOBS}/count_job.py", "--sink", sink),
                    events_per_batch=size,
                )
            )
    found.append(
        Contender(
            name="f-2000",
            kind="f",
            title="count job to a discarding sink, batches of 2000, bundles as long as SQL's mini-batches: 1 s",
            topic="batches-2000",
            arguments=(
                *("-Dpython.fn-execution.bundle.time=1000", "-py", f"{JOBS}/count_job.py"),
                *("--sink", "discard"),
            ),
            events_per_batch=2000,
        )
    )
    found.append(
        Contender(
            name="e-2000",
            kind="e",
            title="the whole job: to Cassandra with titles, and every changed count to Kafka, batches of 2000",
            topic="to-cassandra-2000",
            arguments=("-py", f"{JOBS}/count_job.py", "--sink", "cassandra", "--enrich"),
            events_per_batch=2000,
        )
    )
    for source, dedup, state in product(("single", "batches"), SQL_DEDUPS, ("hashmap", "rocksdb")):
        is_single = source == "single"
        found.append(
            Contender(
                name=f"c-{source}-{dedup}-{state}",
                kind="c",
                title=f"SQL, {'single events' if is_single else f'UNNEST of {SQL_BATCH}'}, {dedup} dedup, "
                f"{'heap' if state == 'hashmap' else 'RocksDB'} state",
                topic="plain-single" if is_single else "plain-batches",
                arguments=("-py", f"{JOBS}/sql_job.py", "--input", source, "--dedup", dedup),
                state=state,
                events_per_batch=1 if is_single else SQL_BATCH,
                check_topic="check-single" if is_single else "check-batches",
            )
        )
    found.append(
        Contender(
            name="d-naive",
            kind="d",
            title="PyFlink, one event at a time",
            topic="plain-naive",
            arguments=("-py", f"{JOBS}/naive_job.py"),
            check_topic="check-naive",
        )
    )
    return found


def topics(scale: Scale) -> dict[str, Topic]:
    """Every topic that a contender reads, by name."""
    made = [
        *(batches_topic(f"batches-{size}", scale.batches[size], size) for size in BATCHES),
        *(batches_topic(f"to-cassandra-{size}", min(scale.batches[size], scale.cassandra), size) for size in BATCHES),
        plain_batches_topic("plain-batches", scale.plain_batches, SQL_BATCH),
        single_topic("plain-single", scale.single),
        single_topic("plain-naive", scale.naive),
        plain_batches_topic("check-batches", scale.check, SQL_BATCH),
        single_topic("check-single", scale.check),
        single_topic("check-naive", scale.naive_check),
    ]
    return {topic.name: topic for topic in made}


def chosen(every: Sequence[Contender], only: str, sql: str) -> list[Contender]:
    """The contenders that `only` names by letter or beginning of the name, and the kinds of SQL that `sql` names."""
    wanted = [part.strip() for part in only.split(",") if part.strip()]
    ways = [part.strip() for part in sql.split(",") if part.strip()]
    found = [c for c in every if any(c.name == w or c.name.startswith(w + "-") for w in wanted)]
    return [c for c in found if c.kind != "c" or any(way in c.name for way in ways)]


def limited(scale: Scale, events: int | None) -> Scale:
    """The scale with at most `events` events for each contender."""
    if events is None:
        return scale
    return replace(
        scale,
        batches={size: min(n, events) for size, n in scale.batches.items()},
        cassandra=min(scale.cassandra, events),
        plain_batches=min(scale.plain_batches, events),
        single=min(scale.single, events),
        naive=min(scale.naive, events),
        check=min(scale.check, events),
        naive_check=min(scale.naive_check, events),
    )
