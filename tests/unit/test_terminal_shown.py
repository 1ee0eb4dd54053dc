"""What the terminal makes of answers, and of bytes that are server-sent events. No server."""

import io
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from view_counts_client.terminal.events import Event, Events
from view_counts_client.terminal.shown import BARS, Form, as_csv, columns_of, notes_on, print_answer, rows_of, sparkline


def printed(answer: dict[str, Any], form: Form) -> tuple[str, str]:
    out, errors = (Console(file=io.StringIO(), width=100) for _ in range(2))
    print_answer([answer], rows_of(answer), notes_on(answer, {}), form, out, errors)
    return out.file.getvalue(), errors.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([0, 0], "▁▁"),
        ([0, 1, 1000], "▁▂█"),
        ([None, 5, None], " █ "),
        ([7] * 3, "███"),
    ],
)
def test_a_bar_is_as_high_as_its_share_and_only_nothing_is_lowest(values: list[int | None], line: str) -> None:
    assert sparkline(values) == line


@given(st.lists(st.none() | st.integers(0, 10**12)), st.integers(1, 100))
def test_a_line_fits_and_its_highest_bar_is_the_most(values: list[int | None], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) <= width
    assert set(line) <= {*BARS, " "}
    if any(values):
        assert BARS[-1] in line


def test_neighbours_are_added_where_there_is_no_room() -> None:
    assert sparkline([1, 1, 0, 0, 4, 4], 3) == "▃▁█"


def test_a_video_cannot_give_orders_to_a_terminal() -> None:
    answer = {"videos": [{"video_id": "\x1b[2J\x9b1mA\u202e", "title": "[red]x[/red]"}]}
    text, _ = printed(answer, Form.TABLE)
    assert "\x1b" not in text
    assert "\\x1b[2J\\x9b1mA\\x202e" in text
    # Nor does it choose its colour.
    assert "[red]x[/red]" in text
    assert "\x9b" not in printed(answer, Form.JSON)[0]


def test_an_answer_in_json_is_as_it_was_and_in_csv_every_field_of_a_row_has_a_column() -> None:
    answer = {
        "points": [{"start": "a", "views": 1}, {"start": "b,c", "views": None, "ok": True}],
        "complete_through": "x",
    }
    assert printed(answer, Form.JSON)[0] == (
        '{"points": [{"start": "a", "views": 1}, {"start": "b,c", "views": null, "ok": true}], '
        '"complete_through": "x"}\n'
    )
    assert printed(answer, Form.CSV) == ('start,views,ok\na,1,\n"b,c",,true\n', "complete through x\n")


def test_what_lies_below_a_row_has_no_column() -> None:
    rows = [{"a": 1, "below": {"b": 2}, "list": []}]
    assert columns_of(rows) == ["a"]
    assert as_csv(rows, ["a"], head=False) == "1\n"


def test_numbers_are_grouped_and_an_empty_answer_says_so() -> None:
    assert "1,234,567" in printed({"views": 1234567}, Form.TABLE)[0]
    assert printed({"videos": []}, Form.TABLE)[0] == "nothing\n"


def test_whatever_makes_an_answer_less_than_whole_is_said() -> None:
    said = notes_on(
        {
            "degraded": ["cassandra"],
            "complete_through": None,
            "waiting": {"events": 3, "since": "S"},
            "missing": [{"from": None, "to": "T"}],
            "exact": False,
            "not_exact_because": "of 65 kinds",
        },
        {"view-counts-status": "stalled;behind=400", "view-counts-audit": 'wrong;at="A";wrong=3;repaired=1;hours=2'},
    )
    assert said == [
        "the stream is stalled, 400 s behind",
        "the last audit, at A, found 3 wrong numbers, and 1 of them are right now",
        'something is missing: ["cassandra"]',
        "nothing is complete yet",
        "3 events wait in overflow since S: not all are counted",
        "records are missing from the beginning to T: there may have been more",
        "not exact: of 65 kinds",
    ]
    for status, audit in (("healthy;behind=3", 'clean;at="A";wrong=0'), ("idle", "none"), ("", "")):
        headers = {"view-counts-status": status, "view-counts-audit": audit}
        assert notes_on({"waiting": None, "missing": [], "exact": True}, headers) == []


STREAM = b': hello\r\n\r\nid: 1\nevent: views\ndata: {"a":\ndata:1}\n\nretry: 5\n\nid\rdata: \xc3\xa9\r\rdata: cut'
EVENTS = [Event("views", '{"a":\n1}', "1"), Event("message", "é", "")]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_events_are_the_same_however_their_bytes_come(cuts: list[int]) -> None:
    events = Events()
    ends = [0, *sorted(cuts), len(STREAM)]
    found = [one for begin, end in itertools.pairwise(ends) for one in events.feed(STREAM[begin:end])]
    assert found == EVENTS
