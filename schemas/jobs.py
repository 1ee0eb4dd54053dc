"""The names and files of the jobs, for programs that submit or look for jobs and do not import Flink."""

from typing import NamedTuple


class Job(NamedTuple):
    """A job: the name that Flink shows, and the file to submit, as a path from the root of the repository."""

    name: str
    file: str


COUNT = Job("view-counts", "jobs/view_counts.py")
ARCHIVE = Job("archive-events", "jobs/archive_events.py")
PACK = Job("pack-events", "jobs/pack_events.py")
ROLLUP = Job("rollup", "jobs/rollup.py")
AUDIT = Job("audit", "jobs/audit.py")
