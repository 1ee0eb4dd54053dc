"""What a client does when its process forks, ends, or gets SIGTERM. Knows clients by a protocol alone."""

import _thread
import atexit
import contextlib
import multiprocessing.util
import os
import signal
import threading
import weakref
from types import FrameType
from typing import Any, Protocol


class Ending(Protocol):
    """Who is told."""

    def forked(self) -> None:
        """This is a new process: nothing of the parent's is this one's."""
        ...

    def end(self) -> None:
        """The process ends: send what waits, within a bound of time."""
        ...


_CLIENTS: "weakref.WeakSet[Any]" = weakref.WeakSet()


def watch(client: Ending) -> None:
    """Tell a client of forks and of the end, for as long as somebody holds it."""
    _CLIENTS.add(client)


def unwatch(client: Ending) -> None:
    """Tell it no more."""
    _CLIENTS.discard(client)


def _forked() -> None:
    _SIGTERM.forked()
    for client in [*_CLIENTS]:
        client.forked()


def _end() -> None:
    for client in [*_CLIENTS]:
        client.end()


class _Sigterm:
    """Flushes before the handler that was there before does what it does.

    A handler runs in the main thread, in the midst of whatever this does, perhaps with a lock of a client. So a thread
    flushes, while the main thread goes on, and sends the signal once more.
    """

    def __init__(self) -> None:
        self._former: Any = None
        self._is_installed = False
        self._flushing = False
        self._flushed = False

    def install(self) -> None:
        """Once in a process. Only the main thread may; in others, nothing happens."""
        if self._is_installed or threading.current_thread() is not threading.main_thread():
            return
        former = signal.getsignal(signal.SIGTERM)
        # None is a handler that is not Python's, which nobody could call.
        if former is None or former is signal.SIG_IGN:
            return
        self._former = former
        self._is_installed = True
        signal.signal(signal.SIGTERM, self._handle)

    def forked(self) -> None:
        """The parent's signal is not the child's."""
        self._flushing = self._flushed = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._flushed:
            self._pass_on(number, frame)
        elif not self._flushing:
            self._flushing = True
            # A Thread takes locks when it starts, which the main thread may just hold.
            _thread.start_new_thread(self._flush, ())

    def _flush(self) -> None:
        with contextlib.suppress(Exception):
            _end()
        self._flushed = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._flushing = self._flushed = False
        if callable(self._former):
            self._former(number, frame)
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), number)


_SIGTERM = _Sigterm()
install_sigterm = _SIGTERM.install


class _Children:
    """Processes of multiprocessing end without what `atexit` has."""

    def begun(self) -> None:
        """Flush at the end of such a process, which has just begun."""
        multiprocessing.util.Finalize(None, _end, exitpriority=0)


_CHILDREN = _Children()
os.register_at_fork(after_in_child=_forked)
multiprocessing.util.register_after_fork(_CHILDREN, _Children.begun)
atexit.register(_end)
