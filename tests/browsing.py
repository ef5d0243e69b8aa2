"""Debian's chromium without a window, for tests of pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
TIMEOUT = 120_000
"""Milliseconds, for machines that have much else to do."""


@contextmanager
def launched(*more: str) -> Iterator:
    """A browser with further options; the test is skipped where there is none."""
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*QUIET, *more])
        yield chromium
        chromium.close()


@contextmanager
def listening(window, home: str, messages: list[str]) -> Iterator:
    """Collect what a window complains of: messages on the console, errors, requests that leave `home`.

    Afterwards the window is as it was.
    """
    ours = (home, "data:", "blob:")
    listeners = {
        "console": lambda message: messages.append(message.text),
        "pageerror": lambda error: messages.append(str(error)),
        "request": lambda asked: asked.url.startswith(ours) or messages.append(asked.url),
    }
    window.set_default_timeout(TIMEOUT)
    for event, listener in listeners.items():
        window.on(event, listener)
    yield window
    for event, listener in listeners.items():
        window.remove_listener(event, listener)
