"""Search by id and title: what is found, what has no meaning, and that the index stays in step and in its bounds."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import registry
from services.query.titles import index as module
from services.query.titles.following import change_of
from services.query.titles.index import IndexFullError, TitleIndex, Video

MIB = 1 << 20


def video(video_id: str, title: str) -> tuple[str, Video]:
    return video_id, Video(video_id, title, "c-1", "Night sky", 1)


def index_of(*videos: tuple[str, Video]) -> TitleIndex:
    made = TitleIndex(MIB)
    made.put(videos)
    return made


def found(index: TitleIndex, text: str, limit: int = 10) -> list[str]:
    return [one.video_id for one in index.find(text, limit)]


SKY = index_of(
    video("aurora", "Nothing"),
    video("1", "Northern Aurora"),
    video("2", "Aurora borealis"),
    video("3", "Étoile du Nord"),
    video("4", 'C++ "quoted" (draft)'),
    video("5", "日本語タイトル"),
    video("a%", "100% sure"),
    video("a_b", "under"),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Ids first, then titles that begin so, then those that have the word.
        ("aurora", ["aurora", "2", "1"]),
        ("auro", ["aurora", "2", "1"]),
        ("AURORA B", ["2"]),
        ("borealis aur", ["2"]),
        ("etoile", ["3"]),
        ("E\u0301TOILE DU N", ["3"]),
        ("日本", ["5"]),
        ("Auroraborealis", []),
        # Signs of LIKE, of FTS5 and of SQL mean nothing.
        ("a%", ["a%", "2", "1"]),
        ("a_b", ["a_b"]),
        ("%", []),
        ('"quoted', ["4"]),
        ("c++", ["4"]),
        ("title:aurora", []),
        ("aurora NOT borealis", []),
        ("aurora OR x", []),
        ("NEAR(aurora", []),
        ("aurora* *", ["2", "1"]),
        ("^aurora", ["2", "1"]),
        ("' OR 1=1 --", []),
        ('"', []),
        ("-", []),
        (" ", []),
        ("\0", []),
        ("\0aurora", ["2", "1"]),
        ("\U0010ffff", []),
    ],
)
def test_what_a_text_finds(text: str, expected: list[str]) -> None:
    assert found(SKY, text) == expected


@given(st.text(max_size=40))
def test_no_text_is_an_error(text: str) -> None:
    SKY.find(text.encode("utf-8", "replace").decode(), 5)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.sampled_from(["one two", "two", "onés", ""]))),
    st.sampled_from(["one", "tw", "a", "b", "two o"]),
)
def test_after_any_changes_it_is_as_if_made_anew(changes: list[tuple[str, str | None]], text: str) -> None:
    index, known = TitleIndex(MIB), dict[str, str]()
    for video_id, title in changes:
        index.put([(video_id, None if title is None else video(video_id, title)[1])])
        if title is None:
            known.pop(video_id, None)
        else:
            known[video_id] = title
    assert index.videos == len(known)
    assert {one for one in "abcd" if index.channel_of(one) == "c-1"} == set(known)
    assert {one: index.get(one) for one in "abcd"} == {
        one: video(one, known[one])[1] if one in known else None for one in "abcd"
    }
    fresh = index_of(*(video(*one) for one in known.items()))
    assert sorted(found(index, text)) == sorted(found(fresh, text))


def test_as_many_as_are_asked_for() -> None:
    index = index_of(*(video(f"{number:02}", f"Aurora {number}") for number in range(30)))
    assert found(index, "aurora", 3) == ["00", "01", "02"]
    assert len(found(index, "aurora", 50)) == 30
    assert found(index, "0", 2) == ["00", "01"]


def test_a_full_index_takes_nothing_of_what_does_not_fit_and_goes_on_answering() -> None:
    index = TitleIndex(200 << 10)
    batches = [[video(f"{at}-{number}", f"Title {at} {number}") for number in range(100)] for at in range(100)]

    def put_all() -> None:
        for batch in batches:
            index.put(batch)

    with pytest.raises(IndexFullError):
        put_all()
    assert 0 < index.videos < 10_000
    assert index.videos % 100 == 0
    assert found(index, "0-1", 1) == ["0-1"]
    last = index.videos // 100
    assert index.get(f"{last}-0") is None


def test_a_full_index_forgets_all_and_then_takes_again_what_fits() -> None:
    index, known = TitleIndex(200 << 10), list[str]()

    def fill(prefix: str) -> None:
        for number in range(10_000):
            index.put([video(f"{prefix}-{number}", f"Title {number}")])
            known.append(f"{prefix}-{number}")

    with pytest.raises(IndexFullError):
        fill("a")
    first = len(known)
    assert (index.videos, index.channel_of(f"a-{first}")) == (first, None)
    for video_id in known:
        index.put([(video_id, None)])
        assert index.channel_of(video_id) is None
    assert (index.videos, found(index, "title")) == (0, [])
    with pytest.raises(IndexFullError):
        fill("b")
    assert index.videos == len(known) - first > first // 2


def test_who_asks_for_a_channel_does_not_wait_for_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of(video("A", "Aurora"))
    searches, may_end = threading.Event(), threading.Event()

    def slow(_text: str, _limit: int) -> list[Any]:
        searches.set()
        may_end.wait(30)
        return []

    monkeypatch.setattr(module, "_questions", slow)
    with ThreadPoolExecutor(2) as threads:
        try:
            search = threads.submit(index.find, "aurora", 1)
            assert searches.wait(10)
            assert threads.submit(index.channel_of, "A").result(10) == "c-1"
            assert not search.done()
        finally:
            may_end.set()


def test_a_record_of_the_topic_is_a_change() -> None:
    about = {"title": "Étoile", "channel_id": "c-1", "channel_name": "Night sky", "created_at": 1000}
    value = registry.encode("VideoMetadata", {"video_id": "A", **about})
    assert change_of(b"A", value) == ("A", Video("A", "Étoile", "c-1", "Night sky", 1000))
    assert change_of(b"A", None) == ("A", None)
    for key, bad in ((b"B", value), (None, value), (b"A", b"x"), (b"\xff", None)):
        assert change_of(key, bad) is None
