"""The count job as it would be if somebody had renamed an operator's uid, as no one may."""

from types import SimpleNamespace
from unittest import mock

from jobs import view_counts
from jobs.uids import ViewCountsUid

if __name__ == "__main__":
    names = {uid.name: str(uid) for uid in ViewCountsUid}
    with mock.patch.object(view_counts, "Uid", SimpleNamespace(**{**names, "WINDOW": "view-counts-renamed"})):
        view_counts.main()
