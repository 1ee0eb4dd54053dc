"""Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

# Playwright would download one of its own.
NAME = "chromium"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


def program() -> str:
    """The path of Chromium."""
    path = shutil.which(NAME)
    assert path is not None, "Chromium is not there; `bin/setup tests` installs it, or says how"
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that lives as long as the context. As long as it does, nothing else here may run a loop of asyncio."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
