from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import expect
from starlette.testclient import TestClient

from app.db import utc_now
from app.sources import Source
from app.vocabulary import Reliability, Scope
from tests import make
from tests.browser.conftest import Visits, tracker_with
from tests.conftest import with_key

MARKUP = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>{{7*7}}"
PATHS = ("/?as_of=2025-04-01", "/countries/PL", "/countries/PL/troops", "/diff?from=2025-01-01&to=2025-04-01")


def with_markup(app: FastAPI) -> None:
    """Record markup in every field that takes text."""
    contributor = with_key(app, MARKUP[:60], Scope.CONTRIBUTE)
    fields = {
        "summary": MARKUP,
        "speaker": MARKUP,
        "speaker_role": MARKUP,
        "quote": MARKUP,
        "quote_language": "en",
        "locator": MARKUP,
        "notes": MARKUP,
        "conditions": [{"type": "other", "text": MARKUP}],
        "caveats": [{"type": "other", "text": MARKUP}],
        "quantity": {"min": 1, "max": 2, "unit": "<b>tanks</b>", "verbatim": MARKUP},
    }
    source = {"title": MARKUP, "publisher": MARKUP, "url": "https://example.org/?a='&b=%3Cscript%3E"}
    state_with_address(app, contributor, "javascript:alert(4)")
    wrong = make.state(contributor, **(fields | {"source": {"title": MARKUP, "publisher": MARKUP}}))
    answer = contributor.post(
        f"/v1/changes/{wrong}/correction",
        json={"reason": MARKUP, "statement": {"source": source, "firmness": "committed"}},
    )
    make.kept(answer)
    make.state(contributor, **fields, source=source, authority="media", stated_on="2025-03-28")
    make.state(contributor, **fields, source=source, firmness="signalled", stated_on="2025-03-30")


def state_with_address(app: FastAPI, contributor: TestClient, url: str) -> None:
    """Record a statement whose source has an address that no request could have brought."""
    with app.state.database.writing() as session:
        source = Source(
            id=1,
            url=url,
            canonical_url=url,
            title="A false address",
            publisher=None,
            published_on=None,
            reliability=Reliability.F,
            notes=None,
            recorded_at=utc_now(),
            recorded_by_id="-",
            recorded_by_name="-",
            known_from_seq=1,
        )
        session.add(source)
    make.state(contributor, source=None, source_id=1, stated_on="2025-03-26", summary="False.")


@pytest.fixture(scope="module")
def hostile(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tracker_with(migrated, tmp_path_factory.mktemp("hostile"), with_markup) as address:
        yield address


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bypass_csp", [False, True], ids=["as served", "without the policy"])
def test_markup_in_the_record_stays_text(visit: Visits, hostile: str, path: str, bypass_csp: bool) -> None:
    page = visit(hostile + path, bypass_csp=bypass_csp)
    expect(page.locator("main")).to_contain_text("<script>alert(1)</script>")

    assert page.locator("main script, main img, svg[onload], b:text-is('tanks')").count() == 0
    assert page.locator("script").count() == (2 if path.startswith("/?") else 1)
    assert page.get_by_text("{{7*7}}").count() > 0


def test_markup_stays_text_in_an_open_cell_and_after_a_step(visit: Visits, hostile: str) -> None:
    page = visit(f"{hostile}/", bypass_csp=True)
    page.locator('[id="PL.troops"]').click()
    expect(page.get_by_role("dialog").locator("blockquote").first).to_contain_text("<img src=x")
    page.keyboard.press("Escape")
    page.locator("#previous").click()
    expect(page.locator("#as_of")).to_have_value("2025-03-30")

    assert page.locator("main img, dialog img, main script, dialog script").count() == 0


def test_no_address_but_one_of_the_web_becomes_a_link(visit: Visits, hostile: str) -> None:
    page = visit(f"{hostile}/countries/PL/troops")
    links = page.locator("a[href]").evaluate_all("all => all.map(each => each.href)")

    expect(page.get_by_text("A false address").first).to_be_visible()
    assert {link.partition(":")[0] for link in links} <= {"http", "https"}
    assert page.locator("a[rel~=nofollow]").count() > 0


def test_the_policy_stops_a_script_that_gets_into_the_page(visit: Visits, hostile: str) -> None:
    page = visit(f"{hostile}/")
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            try { script.text = "window.taken = true"; document.body.append(script); } catch {}
            try { document.body.innerHTML += "<img src=x onerror='window.taken = true'>"; } catch {}
        }"""
    )
    page.wait_for_timeout(200)

    assert page.evaluate("window.taken") is None
    assert len(visit.complaints) >= 1
    visit.complaints.clear()
