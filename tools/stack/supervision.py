"""Uses supervisord: writes its configuration, starts it so that it ends with this process, and calls its XML-RPC.

It knows processes only by name and command. It knows no ports, no readiness and no purpose of a part.
"""

import contextlib
import http.client
import os
import subprocess
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import Faults, SupervisorTransport

from tools.stack.layout import Layout
from tools.stack.machine import subreaper
from tools.stack.machine.private_files import UMASK

LOG_BYTES_MAX = 20 * 1024 * 1024
LOG_BACKUPS = 2
# supervisord waits this much longer than the wrapper before it kills the wrapper itself.
STOP_MARGIN_S = 5
# Of the wrapper. The file's name is that of the program.
PID_FILE_OPTION = "--pid-file"


class StartError(RuntimeError):
    """supervisord cannot run a program at all. The message has supervisord's reason."""


class SupervisorGoneError(RuntimeError):
    """The stack's supervisord does not answer, so the stack is not running."""


@dataclass(frozen=True)
class Program:
    """One process to supervise."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    stop_grace_s: float


def _wrapper(layout: Layout) -> list[str]:
    # With -I -S Python reads no site-packages and no user folder, so it starts in milliseconds.
    return [str(layout.python), "-I", "-S", subreaper.__file__]


def watched(layout: Layout, program: Program) -> list[str]:
    """The command of a program, with the wrapper that watches it."""
    return [
        *_wrapper(layout),
        *(PID_FILE_OPTION, str(layout.pid_file(program.name)), "--grace", f"{program.stop_grace_s:g}", "--"),
        *program.command,
    ]


def program_of(command: Sequence[str]) -> str | None:
    """The name of the program that a process with this command line watches; None if it is no such process."""
    if subreaper.__file__ not in command or PID_FILE_OPTION not in command:
        return None
    return Path(command[command.index(PID_FILE_OPTION) + 1]).stem


def _quoted(value: str) -> str:
    """`value` as it must be written in supervisord's configuration: quoted, with % doubled."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def configuration(layout: Layout, programs: Sequence[Program]) -> str:
    """The text of supervisord.conf. A program must be started once, and is then restarted when it ends."""
    blocks = [
        f"""[supervisord]
nodaemon=true
silent=true
{"user=root" if os.geteuid() == 0 else "; runs as the user who starts it, who may have no name"}
directory={layout.home}
logfile={layout.log_file("supervisord")}
logfile_maxbytes={LOG_BYTES_MAX}
logfile_backups={LOG_BACKUPS}
pidfile={layout.run / "supervisord.pid"}
childlogdir={layout.logs}
minfds=1024

[unix_http_server]
file={layout.socket("supervisor")}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    ]
    for program in programs:
        environment = ",".join(f"{name}={_quoted(value)}" for name, value in sorted(program.environment.items()))
        blocks.append(
            f"""[program:{program.name}]
command={" ".join(_quoted(argument) for argument in watched(layout, program))}
environment={environment}
autostart=false
autorestart=true
startsecs=1
; Supervisor waits one second longer before each attempt; a dependency may be away for long.
startretries=1000000
stopwaitsecs={int(program.stop_grace_s) + STOP_MARGIN_S}
redirect_stderr=true
stdout_logfile={layout.log_file(program.name)}
stdout_logfile_maxbytes={LOG_BYTES_MAX}
stdout_logfile_backups={LOG_BACKUPS}
"""
        )
    return "\n".join(blocks)


class Lifeline:
    """A running supervisord. It ends with this process, however this process ends, and so do all its programs.

    The lifeline is a pipe. PR_SET_PDEATHSIG would not do, because that signal already comes when the *thread* that
    started the child ends.
    """

    def __init__(self, layout: Layout, environment: Mapping[str, str]) -> None:
        """Start supervisord with the configuration in the home. Every part inherits `environment`."""
        layout.socket("supervisor").unlink(missing_ok=True)
        supervisord = str(layout.python.with_name("supervisord"))
        conf = str(layout.conf / "supervisord.conf")
        read_end, write_end = os.pipe()
        self._write_end: int | None = write_end
        wrapper = [*_wrapper(layout), "--lifeline", str(read_end), "--"]
        with layout.log_file("supervisord-start").open("wb") as log:
            # supervisord has a session of its own, so that Ctrl-C reaches only this process, which then stops the
            # parts in order.
            self._process = subprocess.Popen(
                [*wrapper, supervisord, "-n", "-c", conf],
                env=dict(environment),
                pass_fds=(read_end,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Logs and data of parts are for their owner alone.
                umask=UMASK,
            )
        os.close(read_end)

    @property
    def pid(self) -> int:
        """The process id of the wrapper around supervisord. Everything of the stack runs below it."""
        return self._process.pid

    def running(self) -> bool:
        """Whether supervisord still runs."""
        return self._process.poll() is None

    def cut(self, wait_s: float = 10.0) -> None:
        """End supervisord and everything below it at once, and wait until all have ended."""
        if self._write_end is not None:
            os.close(self._write_end)
            self._write_end = None
        self._process.wait(timeout=wait_s)


class Supervisor:
    """A client of supervisord's XML-RPC. Every call raises SupervisorGoneError if supervisord does not answer."""

    def __init__(self, layout: Layout) -> None:
        self._url = f"unix://{layout.socket('supervisor')}"

    @contextlib.contextmanager
    def _api(self) -> Iterator[Any]:
        # Each use has a connection of its own, because calls come from several threads.
        transport = SupervisorTransport(None, None, self._url)
        try:
            yield xmlrpc.client.ServerProxy("http://localhost", transport=transport).supervisor
        except (OSError, http.client.HTTPException) as error:
            raise SupervisorGoneError("the stack is not running") from error
        finally:
            transport.close()

    def answers(self) -> bool:
        """Whether supervisord accepts commands."""
        try:
            with self._api() as api:
                return bool(api.getState()["statename"] == "RUNNING")
        except SupervisorGoneError:
            return False

    def states(self) -> dict[str, str]:
        """The state of each process: STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL or UNKNOWN."""
        with self._api() as api:
            return {entry["name"]: entry["statename"] for entry in api.getAllProcessInfo()}

    def start(self, name: str) -> None:
        """Start one process and return at once. Does nothing if it runs already. Raises StartError."""
        with self._api() as api:
            try:
                api.startProcess(name, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != Faults.ALREADY_STARTED:
                    raise StartError(f"{name} cannot be started: {fault.faultString}") from fault

    def stop(self, name: str, *, wait: bool) -> None:
        """Stop one process, which stays stopped until `start`. Does nothing if it is stopped already."""
        with self._api() as api:
            try:
                api.stopProcess(name, wait)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != Faults.NOT_RUNNING:
                    raise

    def shut_down(self) -> None:
        """Stop all processes and supervisord itself. Returns at once."""
        with self._api() as api:
            api.shutdown()
