"""Chooses errors that a correct stream never makes, and writes them into its table."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tools.audit_demo.truth import Truth
from tools.load.prediction import Cells

Cell = tuple[str, str, int]
MINUTE_US = 60_000_000


class Kind(StrEnum):
    """What went wrong with a cell."""

    LOST_PARTIAL = "partial lost"
    DOUBLED_PARTIAL = "partial counted twice"
    WRONG_ROW = "row with another number"
    LOST_ROW = "row lost"
    EXTRA_ROW = "row of a video that nobody viewed"


@dataclass(frozen=True)
class PlantedError:
    """A cell with its right number and the wrong one in the table, which is 0 if the row is deleted."""

    kind: Kind
    cell: Cell
    right: int
    wrong: int


def chosen(truth: Truth, of_each: int, seed: int) -> list[PlantedError]:
    """`of_each` errors of each kind, in cells without late views. Raises ValueError if there are too few cells."""
    r = random.Random(seed)  # noqa: S311 - errors need be no secret
    candidates = sorted(cell for cell, views in truth.counted.items() if views > 2 and cell not in truth.late)
    kinds = [kind for kind in Kind for _ in range(of_each)]
    if len(candidates) < len(kinds):
        raise ValueError(
            f"{len(candidates)} minutes have more than 2 views, and {len(kinds)} are needed: send more events"
        )
    return [
        _error(kind, cell, truth.counted, r) for kind, cell in zip(kinds, r.sample(candidates, len(kinds)), strict=True)
    ]


def _error(kind: Kind, cell: Cell, counted: Cells, r: random.Random) -> PlantedError:
    right = counted[cell]
    partial = r.randrange(1, right)
    match kind:
        case Kind.LOST_PARTIAL:
            return PlantedError(kind, cell, right, right - partial)
        case Kind.DOUBLED_PARTIAL:
            return PlantedError(kind, cell, right, right + partial)
        case Kind.WRONG_ROW:
            return PlantedError(kind, cell, right, right + 1000 + partial)
        case Kind.LOST_ROW:
            return PlantedError(kind, cell, right, 0)
        case Kind.EXTRA_ROW:
            return PlantedError(kind, (f"nobody-{cell[0]}", *cell[1:]), 0, partial)


def plant(session: Any, errors: Iterable[PlantedError]) -> None:
    """Write the errors. A lost row is deleted at its own write timestamp, so that it can be written again."""
    for error in errors:
        video, kind, minute = error.cell
        at = datetime.fromtimestamp(minute * 60, UTC)
        if error.kind is Kind.LOST_ROW:
            session.execute(
                f"DELETE FROM views_by_minute USING TIMESTAMP {minute * MINUTE_US + error.right} "
                "WHERE video_id = %s AND kind = %s AND day = %s AND minute = %s",
                (video, kind, at.date(), at),
            )
        else:
            session.execute(
                "INSERT INTO views_by_minute (video_id, kind, day, minute, views) VALUES (%s, %s, %s, %s, %s)",
                (video, kind, at.date(), at, error.wrong),
            )


def with_errors(cells: Cells, errors: Sequence[PlantedError]) -> Cells:
    """The numbers in the table after the errors were planted."""
    found = cells | {error.cell: error.wrong for error in errors}
    for error in errors:
        if error.kind is Kind.LOST_ROW:
            del found[error.cell]
    return found
