import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from app.main import create_app
from app.settings import Settings
from app.vocabulary import Scope
from tests import make
from tests.browser.conftest import Visits
from tests.conftest import with_key
from tests.serving import served


@pytest.fixture(scope="module")
def contributor(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Somebody who may contribute to a tracker that is served, with one entry so far."""
    folder = tmp_path_factory.mktemp("live")
    shutil.copy(migrated, folder / "tracker.db")
    url = f"sqlite:///{folder / 'tracker.db'}"
    app = create_app(Settings(database_url=url, _env_file=None))
    inside = with_key(app, "contributor", Scope.CONTRIBUTE)
    make.state(inside, summary="The first.")
    key = inside.headers["Authorization"]
    app.state.database.close()
    with (
        served(url, folder) as address,
        httpx.Client(base_url=address, headers={"Authorization": key}) as client,
    ):
        yield client


def state(contributor: httpx.Client, **fields: str) -> int:
    """State a position over the network; return its seq."""
    answer = contributor.post("/v1/positions", json=make.body(**fields))
    assert answer.status_code == 201, answer.text
    seq: int = answer.json()["change"]["seq"]
    return seq


def test_a_new_entry_appears_by_itself(contributor: httpx.Client, visit: Visits) -> None:
    page = visit(f"{contributor.base_url}")
    expect(page.locator("#live")).to_be_visible()
    page.locator("#as_of").focus()
    seq = state(contributor, country="FR", kind="sea", firmness="committed", summary="Ships will come.")

    expect(page.locator(".latest > li").first).to_contain_text("Ships will come.")
    expect(page.locator('[id="FR.sea"]')).to_contain_text("committed")
    expect(page.locator("#status")).to_have_text(f"Entry {seq} was recorded.")
    expect(page.locator("#record")).to_contain_text(f"entry {seq}")
    expect(page.locator("#as_of")).to_be_focused()
    expect(page.locator("#live")).to_be_visible()


def test_a_page_that_names_its_state_of_the_record_does_not_follow(
    contributor: httpx.Client, visit: Visits
) -> None:
    page = visit(f"{contributor.base_url}?seq=1")
    page.locator("#previous").click()
    expect(page.locator("#as_of")).to_have_value("2025-03-27")

    expect(page.locator("#live")).to_have_count(0)
    assert not [url for url in visit.requests if "stream" in url]
    page.get_by_role("link", name="Read it as known now").click()
    expect(page.locator("#live")).to_be_visible()


def test_a_tracker_that_is_gone_leaves_the_page_and_says_so(contributor: httpx.Client, visit: Visits) -> None:
    page = visit(f"{contributor.base_url}")
    page.context.set_offline(True)
    page.locator("#previous").click()
    trouble = page.get_by_role("alert")

    expect(trouble).to_contain_text("The tracker cannot be reached.")
    expect(page.locator('[id="PL.troops"]')).to_be_visible()
    page.context.set_offline(False)
    trouble.get_by_role("button", name="Try again").click()
    expect(trouble).to_have_count(0)
    expect(page.locator("#as_of")).to_have_value(re.compile("2025-03-"))
