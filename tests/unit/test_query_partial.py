"""What is known of a series while history is away, and last answers: no number that nobody knows. No server."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query.counts.completeness import ALWAYS, HistoryAwayError
from services.query.counts.last_known import ENTRY_BYTES, LastKnown
from services.query.counts.partial import known_points
from services.query.counts.points import Points
from services.query.counts.series import Series
from services.query.counts.spans import Span, inside

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
Asked = Series | Points


def ends(asked: Asked) -> list[datetime]:
    return [start + asked.step for start in asked.starts] if isinstance(asked, Series) else list(asked.bounds[1:])


class Source:
    """Knows all but what was viewed in these spans: of each it says so with one that may be wider."""

    def __init__(self, holes: Sequence[tuple[Span, Span]]) -> None:
        self.holes = holes
        self.reads = 0

    async def __call__(self, asked: Asked) -> list[tuple[datetime, int]]:
        self.reads += 1
        for hole, said in self.holes:
            if inside([asked.span], hole):
                raise HistoryAwayError(f"away at {hole[0]:%d %H:%M}", said)
        return [(start, int((start - START) / MINUTE)) for start in asked.starts]


minutes = st.integers(0, 600).map(lambda n: START + n * MINUTE)
spans = st.tuples(minutes, minutes).filter(lambda span: span[0] < span[1])
hour_points = st.tuples(st.integers(0, 9), st.integers(1, 9)).map(
    lambda of: Series(HOUR, START + of[0] * HOUR, START + (of[0] + of[1]) * HOUR)
)
free_points = st.lists(minutes, min_size=2, max_size=12, unique=True).map(lambda at: Points(tuple(sorted(at))))


@given(
    asked=st.one_of(hour_points, free_points),
    holes=st.lists(st.tuples(spans, st.integers(0, 90), st.integers(0, 90)), max_size=3),
)
def test_a_point_is_known_if_it_can_be_read_and_null_otherwise(
    asked: Asked, holes: list[tuple[Span, int, int]]
) -> None:
    wide = [(hole, (hole[0] - before * MINUTE, hole[1] + after * MINUTE)) for hole, before, after in holes]
    source = Source(wide)

    async def ask() -> None:
        try:
            found, unknown = await known_points(asked, source)  # type: ignore[type-var]
        except HistoryAwayError:
            # Each point has a part of what was said to be unknown.
            said = [of for _, of in wide]
            assert all(inside(said, (start, end)) for start, end in zip(asked.starts, ends(asked), strict=True))
            return
        assert [start for start, _ in found] == list(asked.starts)
        for (start, views), end in zip(found, ends(asked), strict=True):
            if views is None:
                assert any(one.span[0] < end and start < one.span[1] for one in unknown), "it is said why"
                assert inside([of for _, of in wide], (start, end))
            else:
                assert views == int((start - START) / MINUTE)
                assert not inside([hole for hole, _ in wide], (start, end)), "nobody knows it"
        assert bool(unknown) == any(views is None for _, views in found)

    asyncio.run(ask())


def test_where_nobody_knows_anything_or_says_what_it_is_an_error() -> None:
    asked = Series(HOUR, START, START + 4 * HOUR)
    whole = (START, START + 4 * HOUR)
    for said in (None, (ALWAYS, whole[1]), (START - HOUR, START)):
        source = Source([(whole, said)])  # type: ignore[list-item]
        with pytest.raises(HistoryAwayError):
            asyncio.run(known_points(asked, source))
        assert source.reads <= 2


class Answer(msgspec.Struct):
    """One of many bytes."""

    text: str


def test_last_answers_have_an_age_and_a_size() -> None:
    known = LastKnown(3 * (ENTRY_BYTES + 100), timedelta(hours=1))
    known.keep("a", Answer("1"), START)
    # Hardly newer: not worth encoding.
    known.keep("a", Answer("2"), START + timedelta(seconds=4))
    assert known.find("a", START + HOUR) == (Answer("1"), START)
    assert known.find("a", START + HOUR + timedelta(seconds=1)) is None
    known.keep("a", Answer("3"), START + timedelta(seconds=5))
    assert known.find("a", START + HOUR) == (Answer("3"), START + timedelta(seconds=5))
    assert known.find("b", START) is None
    for name in "bcde":
        known.keep(name, Answer("x" * 80), START)
    assert [known.find(name, START) is not None for name in "abcde"] == [False, False, True, True, True]
    known.keep("f", Answer("x" * 10_000), START)
    assert known.find("f", START) is None
    assert LastKnown(0, timedelta(hours=1)).find("a", START) is None
