"""Chromium without anybody inside its pages. Only so it has hidden tabs, prerenders, and keeps pages for going back.

Playwright attaches itself to each page, after which none of the three is as visitors have it. This opens, shows
and closes tabs by the protocol of Chromium's developer tools, through two pipes. Pages say by themselves what happens.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STOP_S = 30.0


class PlainChromium:
    """The tabs of a running Chromium. All are of one profile."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._read = b""
        self._number = 0

    def open(self, url: str) -> str:
        """Open a tab and show it, which hides the one that was shown. Returns its id."""
        return str(self._ask("Target.createTarget", url=url)["targetId"])

    def show(self, tab: str) -> None:
        """Show a tab, and hide the one that was shown."""
        self._ask("Target.activateTarget", targetId=tab)

    def close(self, tab: str) -> None:
        """Close a tab."""
        self._ask("Target.closeTarget", targetId=tab)

    def stop(self) -> None:
        """End all of it."""
        self._ask("Browser.close")

    def _ask(self, method: str, **parameters: str) -> dict[str, Any]:
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = json.loads(self._message())
            if message.get("id") == self._number:
                assert "result" in message, message
                result: dict[str, Any] = message["result"]
                return result

    def _message(self) -> bytes:
        while b"\0" not in self._read:
            some = os.read(self._answers, 1 << 16)
            assert some, "Chromium has ended"
            self._read += some
        message, _, self._read = self._read.partition(b"\0")
        return message


@contextmanager
def plain_chromium(program: str, arguments: Sequence[str], profile: Path) -> Iterator[PlainChromium]:
    """A Chromium with a profile of its own, until the context ends."""
    its_commands, commands = os.pipe()
    answers, its_answers = os.pipe()
    # It reads from 3 and writes to 4.
    shell = f'exec "$@" 3<&{its_commands} 4>&{its_answers}'
    options = (f"--user-data-dir={profile}", "--headless", "--no-first-run", "--remote-debugging-pipe", *arguments)
    with (profile / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", program, *options, "about:blank"],
            pass_fds=(its_commands, its_answers),
            stdout=log,
            stderr=log,
        )
    os.close(its_commands)
    os.close(its_answers)
    chromium = PlainChromium(commands, answers)
    try:
        yield chromium
        chromium.stop()
        process.wait(STOP_S)
    finally:
        process.kill()
        process.wait(STOP_S)
        os.close(commands)
        os.close(answers)
