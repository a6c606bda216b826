"""A headless Chromium for tests of the pages: Debian's own, driven by Playwright.

Where it is missing and this is root on a machine with apt (CI is), it is installed; else the tests that need it are
skipped and say so.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (400, 1280)
SCHEMES = ("light", "dark")


def find_chromium() -> str:
    """The browser's path. Skips the test, with the reason, where there is none and none can be installed."""
    for name in NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("no chromium here, and only root with apt-get can install one")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core"],
    ):
        done = subprocess.run(command, env=environ, capture_output=True, timeout=280, check=False)
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            pytest.skip(f"chromium could not be installed: {' '.join(command[:2])}: {told}")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("apt-get installed no chromium")
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser of its own. `--no-sandbox`: root's Chromium refuses to run otherwise; it meets only our own pages."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
_FOCUSED = "document.hasFocus() && document.activeElement !== document.body && document.activeElement !== null"


def first_tab(page: Page) -> None:
    """Presses Tab on a page on which nothing has been pressed, until it has moved the focus.

    A page gets no keys before it is there and drawn (Chromium drops them until the first frame), and a busy machine
    draws late. Where the first key that counts leads is for the caller to see. Raises AssertionError after 30 s.
    """
    page.bring_to_front()  # only the window in front has a focus to speak of
    page.wait_for_load_state()
    deadline = time.monotonic() + 30
    while not page.evaluate(_FOCUSED):
        assert time.monotonic() < deadline, "Tab focuses nothing"
        page.evaluate(_FRAMES)
        page.keyboard.press("Tab")


def serious(page: Page) -> list[str]:
    """axe-core's serious and critical findings on a page, as `rule: where`."""
    results: dict[str, Any] = Axe().run(page, options={"resultTypes": ["violations"]}).response
    return [
        f"{found['id']}: {node['target']} {node['failureSummary']}"
        for found in results["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]
