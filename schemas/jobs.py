"""The jobs by name and file, for those who submit them or look for them without Flink."""

from typing import NamedTuple


class Job(NamedTuple):
    """A job: the name that Flink shows, and the file that is submitted, from the root of the repository."""

    name: str
    file: str


COUNT = Job("view-counts", "jobs/view_counts.py")
ARCHIVE = Job("archive-events", "jobs/archive_events.py")
PACK = Job("pack-events", "jobs/pack_events.py")
ROLLUP = Job("rollup", "jobs/rollup.py")
AUDIT = Job("audit", "jobs/audit.py")
