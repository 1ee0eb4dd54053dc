"""Asks the query service over HTTP, and compares its hours and totals with the expected cells."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import httpx2

from tools.recount.compare import Finding

MINUTES_PER_HOUR = 60
TIMEOUT_S = 60.0


class Answers:
    """A client of the query service. Use as a context manager."""

    def __init__(self, url: str) -> None:
        self._client = httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def views(self, video_id: str, kind: str) -> dict[str, Any]:
        """The answer of /v1/videos/VIDEO/views."""
        return self._get(f"/v1/videos/{video_id}/views", {"kind": kind})

    def hours(self, video_id: str, kind: str, first_hour: int, last_hour: int) -> dict[int, int]:
        """The views of every hour from the first to the last, by hours since 1970. Raises ValueError for gaps."""
        start = datetime.fromtimestamp(first_hour * 3600, UTC)
        end = datetime.fromtimestamp((last_hour + 1) * 3600, UTC)
        told = self._get(
            f"/v1/videos/{video_id}/series",
            {"kind": kind, "granularity": "hour", "from": start.isoformat(), "to": end.isoformat()},
        )
        found = {
            round(datetime.fromisoformat(point["start"]).timestamp()) // 3600: point["views"]
            for point in told["points"]
        }
        expected = (end - start) // timedelta(hours=1)
        if len(found) != expected:
            raise ValueError(f"{video_id}: {len(found)} points for {expected} hours")
        return found

    def _get(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        answer = self._client.get(path, params=parameters)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told


def compare_hours(
    answers: Answers, cells: dict[tuple[str, str, int], int], *, top: int, sampled: int
) -> tuple[int, list[Finding]]:
    """Compare the `top` most viewed (video, kind), and `sampled` of the others. Returns (hours compared, findings).

    For each it compares the total, and every hour from the first to the last of all cells, also those without views.
    """
    hours: dict[tuple[str, str], Counter[int]] = {}
    for (video_id, kind, minute), views in cells.items():
        hours.setdefault((video_id, kind), Counter())[minute // MINUTES_PER_HOUR] += views
    spanned = {hour for counts in hours.values() for hour in counts}
    ranked = sorted(hours, key=lambda pair: (-hours[pair].total(), pair))
    rest = ranked[top:]
    chosen = ranked[:top] + rest[:: max(1, len(rest) // sampled)][:sampled]
    compared = 0
    findings = []
    for video_id, kind in chosen:
        expected = hours[video_id, kind]
        told = answers.hours(video_id, kind, min(spanned), max(spanned))
        for hour in sorted(told):
            compared += 1
            if told[hour] != expected[hour]:
                where = f"{video_id} {kind} hour {datetime.fromtimestamp(hour * 3600, UTC):%F %H:%M}"
                findings.append(Finding("hour over HTTP", where, expected[hour], told[hour]))
        total = answers.views(video_id, kind)["views"]
        if total != expected.total():
            findings.append(Finding("total over HTTP", f"{video_id} {kind}", expected.total(), total))
    return compared, findings
