"""The elements that the window stage sends to the sink, and the sink to the enrich stage. Knows no Flink.

Elements travel as pickled objects within one run of the job. No state and no savepoint holds them, so they may change
with the code.
"""

from dataclasses import dataclass

from udfs.logic.stream.ledger import Tally
from udfs.logic.stream.window import Ranking


@dataclass(frozen=True)
class Changes:
    """What changed in a shard, as absolute values.

    `counts` are dated rows of udfs.logic.minutes.cells. `tallies` are (salt, tally) for the ledger.
    """

    shard: int
    counts: list[bytes]
    tallies: list[tuple[int, Tally]]


@dataclass(frozen=True)
class Closed:
    """A shard has closed every minute through `minute`, in minutes since 1970.

    The sink says so in the table progress, after it has written everything that the shard sent before this element.
    """

    shard: int
    minute: int


@dataclass(frozen=True)
class Settle:
    """The sink must now wait until everything is written that the shard sent before this element."""

    shard: int


@dataclass(frozen=True)
class Top:
    """The lists of top videos of a shard."""

    shard: int
    rankings: list[Ranking]
