"""Says which kinds a video has: those that the rollup lists, imported ones, and those that are always asked for. Pure.

Minutes of the stream lie by video and kind, so no row says which kinds of a video they have. A kind that was viewed for
the first time since the last rollup is therefore known only if it is declared (VIEW_COUNTS_COUNTING_RANKED_KINDS).
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from schemas.kinds import is_reserved
from udfs.logic.history.video_kinds import from_text


class KindsOfVideo(NamedTuple):
    """The kinds of a video, sorted, without reserved ones.

    All that history has counted or that were imported are among them, except for `left_out` kinds that are viewed less.
    Kinds that are always asked for are among them even if nobody has viewed them.
    """

    kinds: list[str]
    left_out: int


def kinds_of_videos(video_ids: Iterable[str], always: Sequence[str], rows: Iterable[Any]) -> dict[str, KindsOfVideo]:
    """The kinds of these videos from the rows of video_kinds and imported_kinds, in any order."""
    found = {video_id: set(always) for video_id in video_ids}
    left_out = dict.fromkeys(found, 0)
    for row in rows:
        # The rollup lists none that are reserved. What was imported may have any name.
        found[row.video_id].update(kind for kind in from_text(row.kinds) if not is_reserved(kind))
        left_out[row.video_id] += row.left_out or 0
    return {video_id: KindsOfVideo(sorted(kinds), left_out[video_id]) for video_id, kinds in found.items()}
