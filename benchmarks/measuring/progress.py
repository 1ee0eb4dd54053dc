"""Reads from Flink's metrics how far a job has read. Knows partitions and offsets, and not what the job does."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from tools.stack import Stack

# When the JobManager is asked for metrics, it answers with those that it has, and fetches new ones if they are older
# than this. So with regular requests every answer is as old as one interval, and differences between answers are right.
FETCH_INTERVAL_MS = 1000
METRIC_OVERRIDES = {"metrics.fetcher.update-interval": str(FETCH_INTERVAL_MS)}
_OFFSET = "currentOffset"


class Progress:
    """The progress of one job on one topic."""

    def __init__(self, stack: Stack, job: str, topic: str, events_until: Mapping[int, npt.NDArray[np.int64]]) -> None:
        self._stack = stack
        self._job = job
        # The name of the topic in Flink's metrics. A job may also read other topics.
        self._place = f".topic.{topic}.partition."
        self._events_until = events_until
        self._vertex: str | None = None
        self._partition_by_metric: dict[str, int] = {}

    def events(self) -> int:
        """The number of events in the records that the source has sent on; 0 until there are metrics."""
        if len(self._partition_by_metric) < len(self._events_until):
            self._find()
        if self._vertex is None:
            return 0
        names = ",".join(self._partition_by_metric)
        answer = self._metrics(f"/{self._vertex}/subtasks/metrics?get={quote(names)}&agg=max") or []
        total = 0
        for metric in answer:
            partition = self._partition_by_metric.get(metric["id"])
            offset = int(float(metric["max"]))
            if partition is not None and offset >= 0:
                total += int(self._events_until[partition][offset])
        return total

    def _find(self) -> None:
        for vertex in self._vertices():
            for metric in self._metrics(f"/{vertex}/subtasks/metrics") or []:
                name = metric["id"]
                if name.endswith(_OFFSET) and self._place in name:
                    self._vertex = vertex
                    self._partition_by_metric[name] = int(name.split(self._place)[1].split(".")[0])

    def busy_ms(self) -> dict[str, list[int]]:
        """How many ms each subtask was busy since the job began, by operator, from Flink's metrics."""
        details = self._stack.flink_rest(f"/jobs/{self._job}") or {"vertices": []}
        found = {}
        for vertex in details["vertices"]:
            subtasks = (self._stack.flink_rest(f"/jobs/{self._job}/vertices/{vertex['id']}") or {"subtasks": []})[
                "subtasks"
            ]
            found[vertex["name"].split(" -> ")[0]] = [
                round(float(subtask["metrics"]["accumulated-busy-time"])) for subtask in subtasks
            ]
        return found

    def gauge(self, name: str) -> int | None:
        """The sum over subtasks of a metric whose name ends with `name`, of any operator; None if there is none."""
        for vertex in self._vertices():
            found = [m["id"] for m in self._metrics(f"/{vertex}/subtasks/metrics") or [] if m["id"].endswith(name)]
            if found:
                sums = self._metrics(f"/{vertex}/subtasks/metrics?get={quote(','.join(found))}&agg=sum") or []
                return sum(int(float(metric["sum"])) for metric in sums)
        return None

    def _vertices(self) -> list[str]:
        details = self._stack.flink_rest(f"/jobs/{self._job}") or {"vertices": []}
        return [vertex["id"] for vertex in details["vertices"]]

    def _metrics(self, path: str) -> Any:
        return self._stack.flink_rest(f"/jobs/{self._job}/vertices{path}")
