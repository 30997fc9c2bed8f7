"""A real browser for the page: Debian's chromium, driven by Playwright."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from patience import HANG_S

_PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@contextlib.contextmanager
def open_chromium() -> Iterator[Any]:
    """Run a browser for as long as the block; the test is skipped where there is none."""
    if _PROGRAM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_PROGRAM, args=_FLAGS)
        yield browser
        browser.close()


def new_page(browser: Any, **options: Any) -> Any:
    """Return a page with a context of its own, which waits as long as a busy machine needs."""
    page = browser.new_page(**options)
    page.set_default_timeout(HANG_S * 1000)
    return page
