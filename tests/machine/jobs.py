"""Jobs: threads of which one runs at a time, each of which stops before whatever others could see of it.

So a schedule decides what happens between any two steps of a job, and a run depends on its schedule alone.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Self

# Of a job that does not come to its next step: the machine itself is wrong.
STUCK_S = 120.0


class Killed(BaseException):
    """Ends a job at its next step, and at any that it would do on its way out."""


class Job:
    """One attempt of a job. `name` is for people; `attempts` is how many began before it with the same work.

    `restart` is what a new attempt does when a task has failed: the job sets it once it has work to be tried again. The
    number says from where on.
    """

    def __init__(self, kind: str, name: str, work: Callable[["Job"], None]) -> None:
        self.kind = kind
        self.name = name
        self.restart: Callable[[int], None] | None = None
        # Of the lease that it took.
        self.token: int | None = None
        self.next_step = "begins"
        self.steps = 0
        self.is_over = False
        self.has_written = False
        self.error: BaseException | None = None
        self.met: set[Job] = set()
        self._is_killed = False
        # Each is held but for a moment, in which the other thread goes on.
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._thread.start()

    def go(self) -> bool:
        """Let it do what it stands before, until its next step; whether it has one."""
        if not self.is_over:
            self._go.release()
            if not self._back.acquire(timeout=STUCK_S):
                raise RuntimeError(f"{self.name} does not come back from: {self.next_step}")
        return not self.is_over

    def kill(self) -> None:
        """End it here: what it stands before is not done."""
        self._is_killed = True
        while self.go():
            pass

    def step(self, text: str, *, writes: bool) -> None:
        """Called by the job before it does this: hands control back until it is to go on."""
        if self._is_killed:
            raise Killed
        self.next_step = text
        self._back.release()
        self._go.acquire()
        if self._is_killed:
            raise Killed
        self.steps += 1
        self.has_written |= writes

    def _run(self, work: Callable[["Job"], None]) -> None:
        _here.job = self
        self._go.acquire()
        try:
            if not self._is_killed:
                work(self)
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        self.is_over = True
        self._back.release()


_here = threading.local()


def current_job() -> Job | None:
    """Whose thread this is; None where the world acts."""
    job: Job | None = getattr(_here, "job", None)
    return job


def step(text: str, *, writes: bool = True) -> None:
    """A step of the job whose thread this is; nothing where the world acts."""
    job = current_job()
    if job is not None:
        job.step(text, writes=writes)


class InPlace:
    """Stands for a ThreadPoolExecutor: calls are made at once, in the thread of the job, so that runs repeat."""

    def __init__(self, *_arguments: object, **_named: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], /, *arguments: object, **named: object) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(work(*arguments, **named))
        except Exception as error:
            done.set_exception(error)
        return done

    def map(self, work: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
        return iter([work(*one) for one in zip(*arguments, strict=False)])

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        pass
