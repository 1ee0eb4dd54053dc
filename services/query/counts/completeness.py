"""Decides how complete the tables are, by the register of history, and what may be answered from them. Pure.

Views before `through` are in the rows of history, and only there. Later views are in the minutes of the stream, which
Cassandra keeps for some days. Minutes before a time called the cut may have expired. So if `through` is before the cut,
the views in between are in neither until the next rollup has run: a question for them gets an error, never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from services.query.counts.spans import Span, inside, merged
from udfs.logic.history.manifest import HistoryError, hour_start
from udfs.logic.history.register import Register, check_path

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
# A time before every view, and a time after every view.
ALWAYS = datetime.min.replace(tzinfo=UTC)
FOR_EVER = datetime.max.replace(tzinfo=UTC)
# With a rollup each hour, history is at most two hours behind: the current hour, and the one that is being counted.
BEHIND = 3 * HOUR


class HistoryAwayError(ConnectionError):
    """Only history could answer, and it lacks the answer or cannot be read now. The caller may try again.

    `unknown` are the times viewed of which nobody knows the views, None if nobody knows any.
    """

    def __init__(self, text: str, unknown: Span | None = None) -> None:
        super().__init__(text)
        self.unknown = unknown


def cut(now: datetime, kept_days: int) -> datetime:
    """The time before which history answers. Later rows are kept for at least a day more, even if clocks differ."""
    return now.replace(minute=0, second=0, microsecond=0) - (kept_days - 1) * DAY


@dataclass(frozen=True)
class HistoryState:
    """Which state of history the tables hold.

    `manifest` names the manifest that their rows were written from, and is "" before the first. Hours viewed from
    `start` to before `through` are complete; `through` is None while no hour is. `late_through` is None before the
    first rollup. `gaps` are the times viewed, in order, of which history may lack views; `stream_gaps` are those of
    which the stream's minutes may lack some. `has_imports` says whether the tables have views that were imported, and
    `has_kinds` whether they list the kinds of videos.
    """

    manifest: str
    revision: int
    made: datetime
    start: datetime
    through: datetime | None
    late_through: datetime | None
    gaps: tuple[Span, ...]
    stream_gaps: tuple[Span, ...] = ()
    has_imports: bool = False
    has_kinds: bool = False

    @property
    def end(self) -> datetime:
        """The time before which rows of history answer, and from which on minutes of the stream answer."""
        return ALWAYS if self.through is None else self.through

    @property
    def state(self) -> tuple[object, ...]:
        """What is equal as long as neither rows of the rollup nor closed minutes change."""
        return self.revision, self.through, self.made

    def check(self, spans: Sequence[Span], *, cut: datetime, now: datetime) -> None:
        """Raise HistoryAwayError when views within these spans may be neither in history nor in minutes."""
        if self.through is not None:
            if inside(spans, (self.through, cut)):
                raise HistoryAwayError(
                    f"history is complete through {_text(self.through)}, and only history has minutes older than "
                    f"{_text(cut)}: what was viewed in between is known when the next rollup has run",
                    (self.through, cut),
                )
        # A register younger than the cut means that nothing was counted before the cut.
        elif self.made < cut and inside(spans, (ALWAYS, cut)):
            raise HistoryAwayError(
                f"no rollup has run for {(now - self.made) // DAY} days, since {_text(self.made)}: only history could "
                f"have minutes older than {_text(cut)}, and there is none; run the rollup",
                (ALWAYS, cut),
            )

    def missing(self, spans: Sequence[Span], *, before: datetime | None = None) -> list[Span]:
        """The parts of these spans of which records are missing: in the archive for history, in Kafka for minutes.

        `before` is the time at which history ends and the stream begins for this answer, if that is earlier than `end`.
        The parts are in order, and parts that touch are merged.
        """
        end = self.end if before is None else min(before, self.end)
        of_history = [part for gap in self.gaps for part in inside(inside(spans, gap), (ALWAYS, end))]
        of_stream = [part for gap in self.stream_gaps for part in inside(inside(spans, gap), (end, FOR_EVER))]
        return merged([*of_history, *of_stream])


class Lost(NamedTuple):
    """A row of missing_records: how many records, and the naive UTC times between which they may have been viewed."""

    records: int
    viewed_from: datetime | None
    viewed_to: datetime

    @property
    def span(self) -> Span:
        """The times at which they may have been viewed."""
        start = ALWAYS if self.viewed_from is None else self.viewed_from.replace(tzinfo=UTC)
        return start, self.viewed_to.replace(tzinfo=UTC)


def history_state(register: Register | None, lost: Sequence[Lost] = ()) -> HistoryState:
    """Which state of history the tables hold. Raises HistoryAwayError when the register does not say.

    `lost` are records that the stream has not counted, because Kafka had deleted them already.
    """
    if register is None:
        raise HistoryAwayError(
            "this keyspace has no register of history, so it is unknown how far its tables are complete: make it "
            "by `python -m tools.ops history init`, or by `python -m tools.ops history restore` if there was a history "
            "before"
        )
    applied = register.applied
    if applied is None:
        raise HistoryAwayError(
            "history was restored, but its rows are not yet in the tables of this keyspace: the next rollup writes them"
        )
    start = hour_start(applied.from_hour)
    gaps = [(hour_start(first), hour_start(last + 1)) for first, last in applied.gap_hours]
    if applied.from_hour > 0:
        # If the archive lacks the topic's first records, history begins with the first hour that is certain.
        gaps.append((ALWAYS, start))
    return HistoryState(
        manifest=applied.manifest,
        revision=applied.revision,
        made=datetime.fromtimestamp(register.made_ms / 1000, UTC),
        start=start,
        through=applied.complete_through if applied.through_hour > 0 else None,
        late_through=applied.late_through if applied.late_through_hour > 0 else None,
        gaps=tuple(merged(gaps)),
        stream_gaps=tuple(merged(one.span for one in lost)),
        has_imports=applied.imports > 0,
        has_kinds=applied.has_kinds,
    )


def lost_notice(lost: Sequence[Lost]) -> list[str]:
    """At most one sentence, for operators, about records that Kafka had deleted before they were counted."""
    if not lost:
        return []
    records, until = sum(one.records for one in lost), max(one.span[1] for one in lost)
    lacks = f"the stream lacks {records} records, which Kafka had deleted before the count job was started"
    return [f"{lacks}, the last of them viewed before {_text(until)}: see table missing_records"]


def notices(register: Register | None, *, path: str, now: datetime) -> list[str]:
    """Sentences for operators about the state of history. `path` is where the settings say that history is."""
    try:
        found = history_state(register)
    except HistoryAwayError as error:
        return [str(error)]
    assert register is not None
    assert register.applied is not None
    said = [" ".join(warning.split()) for warning in register.applied.warnings]
    try:
        check_path(register, path)
    except HistoryError as error:
        said.append(str(error))
    behind = now - (found.made if found.through is None else found.through)
    if behind > BEHIND:
        how_far = (
            f"no rollup has run since {_text(found.made)}"
            if found.through is None
            else f"complete through {_text(found.through)}"
        )
        said.append(f"history is behind: {how_far}, {behind // HOUR} hours")
    return said


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%MZ}"
