"""Compares Kafka's topics with what the product needs, and describes each difference in a line. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas.declaration import Declaration
from schemas.topics import Topic, topics
from settings import Settings

MEND = "python -m tools.ops topics mend"


@dataclass(frozen=True)
class Seen:
    """A topic as Kafka describes it.

    `replicas` is the number of replicas of the partition that has the fewest. `id` is "" if the broker gives none.
    `config` is the effective configuration by name.
    """

    partitions: int
    replicas: int
    id: str = ""
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """A difference between a topic and what the product needs. `line` describes it and names the remedy.

    `name` is the name by which an operator may accept the difference, and "" if it cannot be accepted. If `needed` is
    true, jobs and services do not run with it. `alter` is the configuration that removes the difference, as (topic,
    name, value), if there is one.
    """

    line: str
    name: str = ""
    needed: bool = True
    alter: tuple[str, str, str] | None = None


def differences(settings: Settings, seen: Mapping[str, Seen], declared: Declaration | None) -> list[Difference]:
    """All differences, without those that the declaration accepts. `seen` has the existing topics by name."""
    accepts = frozenset() if declared is None else frozenset(declared.accepts)
    found: list[Difference] = []
    for topic in topics(settings):
        found += _of_topic(topic, seen.get(topic.name), settings)
    found += _of_declaration(settings, seen.get(settings.kafka.events_topic), declared)
    return [one for one in found if not one.name or one.name not in accepts]


def _of_topic(topic: Topic, seen: Seen | None, settings: Settings) -> Iterable[Difference]:
    if seen is None:
        yield Difference(
            f"topic {topic.name} does not exist; create it: python -m tools.stack.provision topics",
            needed=topic.needed,
        )
        return
    wanted = settings.kafka.replication_factor
    if seen.replicas < wanted:
        yield Difference(
            f"topic {topic.name}: a partition has {seen.replicas} replicas, and "
            f"VIEW_COUNTS_KAFKA_REPLICATION_FACTOR={wanted}: the loss of fewer brokers than planned loses records; add "
            f"replicas by kafka-reassign-partitions, or set the variable to {seen.replicas}",
            f"{topic.name} replicas={seen.replicas}",
            needed=topic.needed,
        )
    for promise in topic.promises:
        value = seen.config.get(promise.name)
        if value is None or promise.is_kept_by(value):
            continue
        must = {"equal": "must be", "at_least": "must be at least", "at_most": "must be at most"}[promise.rule]
        name = f"{topic.name} {promise.name}={value}"
        yield Difference(
            f"topic {topic.name}: {promise.name}={value} {must} {promise.value}, otherwise {promise.why}; mend it: "
            f"{MEND}, or accept it by name: python -m tools.ops topics accept '{name}'",
            name,
            needed=topic.needed and promise.needed,
            alter=(topic.name, promise.name, promise.value),
        )


def _of_declaration(settings: Settings, events: Seen | None, declared: Declaration | None) -> Iterable[Difference]:
    kafka, salts = settings.kafka, settings.counting.salts
    if declared is None:
        yield Difference(
            f"topic {kafka.declaration_topic} has no declaration of {kafka.events_topic}, so salts and partitions are "
            "not declared; declare those of the settings: python -m tools.stack.provision topics"
        )
        return
    for variable, mine, theirs in (
        ("VIEW_COUNTS_COUNTING_SALTS", salts, declared.salts),
        ("VIEW_COUNTS_KAFKA_PARTITIONS", kafka.partitions, declared.partitions),
    ):
        if mine != theirs:
            yield Difference(
                f"{variable}={mine}, and {theirs} is declared for {kafka.events_topic}: events would go where no other "
                f"process expects them; set {variable}={theirs} (docs/operations.md, Salts and partitions)"
            )
    if events is None:
        return
    if events.partitions < declared.partitions:
        yield Difference(
            f"topic {kafka.events_topic} has {events.partitions} partitions, and {declared.partitions} are declared: "
            "some salts have no partition; a topic cannot lose partitions, so this is another topic of the same name "
            "(docs/operations.md, A topic that was made anew)"
        )
    if events.partitions > declared.partitions:
        yield Difference(
            f"topic {kafka.events_topic} has {events.partitions} partitions, and {declared.partitions} are declared: "
            f"those from {declared.partitions} on stay empty, because a salt never changes its partition; you need not "
            "do anything (docs/operations.md, Salts and partitions)",
            needed=False,
        )
    if events.id and declared.topic_id and events.id != declared.topic_id:
        yield Difference(
            f"topic {kafka.events_topic} was made anew: its id is {events.id}, and {declared.topic_id} is declared; "
            "offsets and ids of the old topic mean nothing in the new one (docs/operations.md, A topic that was made "
            "anew)"
        )
