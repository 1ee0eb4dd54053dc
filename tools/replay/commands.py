"""The work of the replay commands: they choose letters, print them as text or JSON, and send events to Kafka."""

import time
from collections.abc import Iterable, Iterator
from typing import get_args

from connectors.kafka_admin import TopicMismatchError
from settings import Settings
from tools.replay import shown
from tools.replay.fixes import FixError, load_fix
from tools.replay.letters import DIVERTED, Choice, Kept, Letter, chosen, groups
from tools.replay.plan import Planner
from tools.replay.topics import letters, send_events
from tools.times import utc
from udfs.sinks.kafka_writer import KafkaRefusedError

# The errors of these functions, besides KafkaException, that the user of a command can correct.
ERRORS = (FixError, KafkaRefusedError, TopicMismatchError)


def choose(
    settings: Settings,
    topic: Kept | None,
    reasons: Iterable[str] | None,
    from_ms: int | None,
    to_ms: int | None,
    limit: int | None,
) -> list[Letter]:
    """The first `limit` letters that arrived in a time, with one of these reasons or any.

    Without a topic they are late events and dead letters. What a diverted key wrote must be asked for: it was kept
    apart because it may be false.
    """
    kept = frozenset(set(get_args(Kept)) - {DIVERTED} if topic is None else (topic,))
    choice = Choice(kept, frozenset(reasons or ()), from_ms, to_ms)
    return chosen(letters(settings, choice), choice, limit)


def list_lines(found: Iterable[Letter], *, as_json: bool) -> Iterator[str]:
    """A line for each topic, reason and hour of arrival, with the number of letters."""
    for group in groups(found):
        yield shown.as_json(shown.group_fields(group)) if as_json else shown.group_text(group)


def show_lines(found: Iterable[Letter], settings: Settings, *, as_json: bool) -> Iterator[str]:
    """A line or more for each letter, with its content."""
    events_topic = settings.kafka.events_topic
    for letter in found:
        if as_json:
            yield shown.as_json(shown.letter_fields(letter, events_topic))
        else:
            yield shown.letter_text(letter, events_topic)


def resubmit_lines(
    found: Iterable[Letter], settings: Settings, *, fix: str | None, late_as_is: bool, send: bool, as_json: bool
) -> Iterator[str]:
    """Plan what is done with each event, yield a line for each, then send, and yield a summary in JSON.

    It sends only if `send` is true. Raises FixError before the first line.
    """
    function = None if fix is None else load_fix(fix)
    planned = list(Planner(settings, _now_ms(), fix=function, late_as_is=late_as_is).plan(found))
    for one in planned:
        yield shown.as_json(shown.planned_fields(one)) if as_json else shown.planned_text(one)
    datums = [one.datum for one in planned if one.datum]
    records = send_events(settings, datums) if send else 0
    done = {"sent_events": len(datums) if send else 0, "sent_records": records}
    yield shown.as_json({"at": utc(_now_ms()), "dry_run": not send, "fix": fix, **shown.summary(planned), **done})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
