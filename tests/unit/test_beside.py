"""What runs beside is done when the block ends, is never more than fits, and does not fail unheard."""

import threading
import time

import pytest

from connectors.background import Beside


def fail() -> None:
    raise OSError("the store is full")


def test_all_is_done_when_the_block_ends() -> None:
    done: list[int] = []

    def do(n: int) -> None:
        time.sleep(0.001)
        done.append(n)

    with Beside(2) as beside:
        for n in range(20):
            beside.run(do, n)
        beside.wait()
        assert sorted(done) == list(range(20))
        beside.run(done.append, 20)
    assert done[-1] == 20


def test_calls_wait_when_as_many_do_as_there_are_threads() -> None:
    going_on, begun = threading.Event(), threading.Event()
    with Beside(1) as beside:

        def run_third() -> None:
            beside.run(int)
            begun.set()

        for _ in range(2):
            beside.run(going_on.wait)
        third = threading.Thread(target=run_third)
        third.start()
        assert not begun.wait(0.05)
        going_on.set()
        third.join()
        assert begun.is_set()


def test_what_a_call_raises_ends_the_block() -> None:
    with pytest.raises(OSError, match="full"), Beside(1) as beside:
        beside.run(fail)


def test_what_a_call_raises_is_raised_by_a_later_one() -> None:
    def run(beside: Beside) -> None:
        with beside:
            for _ in range(9):
                beside.run(fail)
            pytest.fail("nine calls were made, and of the first none was told")

    with pytest.raises(OSError, match="full"):
        run(Beside(1))


def test_what_waits_is_given_up_when_the_block_fails() -> None:
    done: list[int] = []
    going_on = threading.Event()

    def run() -> None:
        with Beside(1) as beside:
            beside.run(going_on.wait)
            beside.run(done.append, 1)
            threading.Timer(0.05, going_on.set).start()
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert not done
