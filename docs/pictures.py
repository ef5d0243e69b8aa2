"""Take the picture of the leaderboard page that the README shows: `python docs/pictures.py`.

Needs Chromium (`apt-get install chromium`) and Playwright.
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from rased.cli import main

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1280, 760


def leaderboard() -> None:
    """The top of the page of the project's own results."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as browsers:
        main(["leaderboard", str(HERE.parent / "zoo" / "leaderboard"), "--html", place])
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", device_scale_factor=1
        )
        page.goto(f"file://{place}/index.html")
        page.wait_for_timeout(1500)  # figures are drawn after the page has loaded
        page.screenshot(path=HERE / "leaderboard.png")
        browser.close()


if __name__ == "__main__":
    leaderboard()
