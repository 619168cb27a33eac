"""Chromium, and trackers to point it at: one with the seed, one with a larger record, one empty."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from app.main import create_app
from app.seed import seed
from app.settings import Settings
from app.vocabulary import Scope
from tests.browser.world import record_world
from tests.conftest import with_key
from tests.serving import served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IS_REQUIRED = os.environ.get("CI") == "true" or os.environ.get("TRACKER_TEST_BROWSER") == "required"

# A busy machine is no fault of the page.
expect.set_options(timeout=15_000)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser of this machine; where there is none, the tests are skipped, unless it is required."""
    if CHROMIUM is None:
        why = "NO BROWSER: the dashboard is not tested here. Install one, as with `apt install chromium`."
        if IS_REQUIRED:
            pytest.fail(why)
        pytest.skip(why)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()


@contextmanager
def tracker_with(migrated: Path, folder: Path, record: Callable[[FastAPI], None]) -> Iterator[str]:
    """Serve a new record that holds what `record` puts into it; give its address."""
    shutil.copy(migrated, folder / "tracker.db")
    url = f"sqlite:///{folder / 'tracker.db'}"
    app = create_app(Settings(database_url=url, _env_file=None))
    record(app)
    app.state.database.close()
    with served(url, folder) as address:
        yield address


def with_seed(app: FastAPI) -> None:
    """Record the seed."""
    with app.state.database.writing() as session:
        seed(session)


def with_world(app: FastAPI) -> None:
    """Record what is made up."""
    record_world(with_key(app, "contributor", Scope.CONTRIBUTE))


@pytest.fixture(scope="package")
def seeded(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a tracker with the seed."""
    with tracker_with(migrated, tmp_path_factory.mktemp("seeded"), with_seed) as address:
        yield address


@pytest.fixture(scope="package")
def world(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a tracker with the larger record."""
    with tracker_with(migrated, tmp_path_factory.mktemp("world"), with_world) as address:
        yield address


@pytest.fixture(scope="package")
def nothing(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a tracker without any entry."""
    with tracker_with(migrated, tmp_path_factory.mktemp("nothing"), lambda _: None) as address:
        yield address


class Visits:
    """Opens pages, each in a browser of its own, and notes what should not happen on any."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.contexts: list[BrowserContext] = []
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def __call__(self, url: str, *, width: int = 1280, **options: Any) -> Page:
        """Open `url`; `options` are those of a browser's context."""
        context = self.browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(20_000)
        self.contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self._note(said.type, said.text))
        page.on("dialog", lambda dialog: self.complaints.append(f"a dialog: {dialog.message}"))
        page.goto(url)
        return page

    def _note(self, kind: str, text: str) -> None:
        # A status that is an error is what some tests are about; it is the browser's own remark.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def foreign(self, address: str) -> list[str]:
        """Return the requests that went elsewhere than to `address`."""
        return [url for url in self.requests if not url.startswith((address, "data:"))]


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visits]:
    """Opens pages; at the end nothing may have been complained about, and no script may have failed."""
    visits = Visits(chromium)
    yield visits
    for context in visits.contexts:
        context.close()
    assert visits.complaints == []
