"""`python -m tests.machine --minutes 10`: plays random schedules against the batch layer's own jobs.

Says how many, how fast and which jobs met; of one that goes wrong the shortest schedule that is found, with what each
job did. Exit code 1 then. With `--mutations` known faults are put back, one at a time: which are found, and how soon.
"""

import argparse
import logging
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from multiprocessing import get_context

from tests.machine.mutations import MUTATIONS, find
from tests.machine.schedule import Runs, fault, runs, schedule, shortest

SHORTENED_S = 120.0


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="How long.")
    parser.add_argument("--seed", type=int, default=1, help="The first of the seeds.")
    parser.add_argument("--processes", type=int, default=1, help="Side by side, with seeds of their own.")
    parser.add_argument(
        "--mutations", nargs="*", metavar="NAME", help="Put these faults back, or all, each for --minutes at most."
    )
    parser.add_argument("--without", nargs="*", default=[], metavar="OPERATION", help="Leave out what goes wrong.")
    arguments = parser.parse_args()
    seeds = [range(arguments.seed + place, 1 << 40, arguments.processes) for place in range(arguments.processes)]
    # Slices that wait for files say so.
    processes = partial(
        ProcessPoolExecutor,
        arguments.processes,
        mp_context=get_context("spawn"),
        initializer=logging.disable,
        initargs=(logging.WARNING,),
    )
    if arguments.mutations is not None:
        names = arguments.mutations or [one.name for one in MUTATIONS]
        with processes() as pool:
            missed = 0
            for one in pool.map(find, names, repeat(60 * arguments.minutes), repeat(arguments.seed)):
                missed += one.error is None
                print(f"{one.mutation:12} {one.seconds:6.0f} s  {one.how}", flush=True)
        sys.exit(bool(missed))
    with processes() as pool:
        found = list(pool.map(runs, seeds, repeat(60 * arguments.minutes), repeat(tuple(arguments.without))))
    print(told(found))
    failed = [one.failed for one in found if one.failed is not None]
    for seed in failed:
        print(f"\nseed {seed}, shortened:")
        tell(seed, arguments.without)
    sys.exit(bool(failed))


def told(found: list[Runs]) -> str:
    """In lines."""
    steps, seconds = sum(one.steps for one in found), max(one.seconds for one in found)
    met, errors = sum((one.met for one in found), Counter()), sum((one.errors for one in found), Counter())
    lines = [f"{sum(one.runs for one in found)} runs, {steps} steps, {steps / seconds:.0f} steps/s"]
    lines += [f"met: {first} and {second}, {number} times" for (first, second), number in met.most_common()]
    lines += [f"ended {number} times: {text}" for text, number in errors.most_common()]
    return "\n".join(lines)


def tell(seed: int, left_out: list[str]) -> None:
    """What goes wrong with a seed, shortened."""
    operations = shortest(schedule(seed, left_out), SHORTENED_S)
    error = fault(operations, print)
    print(f"wrong: {error}\n{operations}")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main()
