"""Asks a service for seeded counts, and compares its answers with what was seeded."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx2

from benchmarks.comparing.service_host import BenchError
from benchmarks.inputs import query_requests
from benchmarks.inputs.seeded_counts import DAY_S, HOUR_S, Shape, total_now, views_of

TIMEOUT_S = 30.0


def ask(client: httpx2.Client, request: bytes) -> httpx2.Response:
    """Send a request in the form of the load tool."""
    line, _, body = request.partition(b"\n")
    method, path = line.decode().split(" ")
    return client.request(method, path, content=body, headers={"Content-Type": "application/json"} if body else {})


def has_batches(url: str) -> bool:
    """Whether the service answers for several videos at a time."""
    with httpx2.Client(base_url=url, trust_env=False, timeout=TIMEOUT_S) as client:
        return ask(client, query_requests.batch([0, 1])).status_code == httpx2.codes.OK


def check(url: str, shape: Shape, last_minute: int, *, has_history: bool, has_batches: bool) -> int:
    """Compare totals and series of several videos. Returns how many numbers agreed. Raises BenchError."""
    agreed = 0
    with httpx2.Client(base_url=url, trust_env=False, timeout=TIMEOUT_S) as client:
        for number in (0, 1, 7, shape.hour_videos - 1, shape.day_videos - 1, shape.videos - 1):
            found = _json(client, query_requests.totals([number])[0])["views"]
            agreed += _compare([found], [total_now(shape, number, last_minute)], f"total of video {number}")
        if has_batches:
            numbers = [shape.videos - 1, *range(query_requests.VIDEOS_OF_A_BATCH - 1)]
            videos = _json(client, query_requests.batch(numbers))["videos"]
            found = [video["kinds"][0]["views"] for video in videos]
            agreed += _compare(found, [total_now(shape, one, last_minute) for one in numbers], "totals of a batch")
        for number in (0, shape.hour_videos - 1):
            agreed += _check_series(client, shape, number, has_history=has_history)
    return agreed


def _check_series(client: httpx2.Client, shape: Shape, number: int, *, has_history: bool) -> int:
    start = shape.through - query_requests.DAYS_OF_HOURS * timedelta(days=1)
    first = int(start.timestamp()) // HOUR_S
    request = query_requests.series([number], "hour", start)[0]
    agreed = _check_points(client, request, [views_of(number, at) for at in range(first, shape.through_hour)])
    start = shape.through - query_requests.DAYS_OF_A_YEAR * timedelta(days=1)
    first = int(start.timestamp()) // DAY_S
    # The last day goes on: its minutes are added.
    request = query_requests.series([number], "day", start)[0]
    agreed += _check_points(client, request, [views_of(number, at) for at in range(first, shape.last_day)])
    if has_history:
        start, end = query_requests.old_span(shape)
        first, last = (int(at.timestamp()) // HOUR_S for at in (start, end))
        request = query_requests.series([number], "hour", start, end)[0]
        agreed += _check_points(client, request, [views_of(number, at) for at in range(first, last)])
    return agreed


def _check_points(client: httpx2.Client, request: bytes, expected: Sequence[int]) -> int:
    points = _json(client, request)["points"]
    what = request.decode().strip()
    return _compare([point["views"] for point in points[: len(expected)]], expected, what)


def _json(client: httpx2.Client, request: bytes) -> Any:
    answer = ask(client, request)
    if answer.status_code != httpx2.codes.OK:
        raise BenchError(f"{request[:100]!r} was answered {answer.status_code}: {answer.text[:300]}")
    return answer.json()


def _compare(found: Sequence[int], expected: Sequence[int], what: str) -> int:
    wrong = [place for place, (one, other) in enumerate(zip(found, expected, strict=False)) if one != int(other)]
    if len(found) != len(expected) or wrong:
        first = f", the first at {wrong[0]}: {found[wrong[0]]} instead of {expected[wrong[0]]}" if wrong else ""
        raise BenchError(f"{what}: {len(found)} of {len(expected)} numbers, {len(wrong)} of them wrong{first}")
    return len(found)
