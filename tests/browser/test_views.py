import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visits

DAY = "as_of=2025-10-15"
FIRST_LOAD = 150_000


def cell(page: Page, code: str, component: str) -> str:
    """Return what a cell of the matrix says, in one line."""
    found = page.locator("td", has=page.locator(f'[id="{code}.{component}"]'))
    return re.sub(r"\s+", " ", found.inner_text()).replace(" ,", ",").strip()


@pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without scripts"])
def test_the_matrix_says_kind_firmness_and_marks_in_words(
    visit: Visits, seeded: str, javascript: bool
) -> None:
    page = visit(f"{seeded}/?as_of=2025-03-28", java_script_enabled=javascript)

    assert cell(page, "GB", "troops") == "troops, planned conditional"
    assert cell(page, "IT", "troops") == "refusal, leaning"
    assert cell(page, "GB", "air") == "none recorded 1 report"
    expect(page.get_by_role("columnheader")).to_have_text(["Country", "troops", "air", "sea"])
    expect(page.locator("tbody").get_by_role("rowheader")).to_have_text(["France", "Italy", "United Kingdom"])


def test_every_mark_is_shown(visit: Visits, world: str) -> None:
    page = visit(f"{world}/?as_of=2025-10-15")

    for mark in ("conditional", "contested", "possible", "stale"):
        expect(page.locator(f".matrix .mark.{mark}").first).to_be_visible()


def test_a_cell_opens_its_statements_beside_the_table(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/?as_of=2025-03-28")
    page.locator('[id="GB.troops"]').click()
    dialog = page.get_by_role("dialog", name="United Kingdom: troops")

    expect(dialog).to_be_visible()
    expect(dialog.locator("blockquote")).to_have_text("ready to operationalise")
    expect(dialog).to_contain_text("Keir Starmer, prime minister")
    expect(dialog).to_contain_text("2025-03-27?")
    expect(dialog).to_contain_text("ceasefire: if a deal is agreed")
    expect(dialog).to_contain_text("Is the 'coalition of the willing' going to work?, The Week (UK)")
    expect(dialog.get_by_role("heading", name="History")).to_be_visible()
    expect(page).to_have_url(f"{seeded}/?as_of=2025-03-28#GB.troops")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator('[id="GB.troops"]')).to_be_focused()
    expect(page).to_have_url(f"{seeded}/?as_of=2025-03-28")


def test_a_cell_that_the_address_names_is_open(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/?as_of=2025-03-28#IT.troops")

    expect(page.get_by_role("dialog", name="Italy: troops")).to_be_visible()


def test_without_scripts_a_cell_leads_to_a_page_of_its_own(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/?as_of=2025-03-28", java_script_enabled=False)
    page.locator('[id="GB.troops"]').click()

    expect(page).to_have_url(f"{seeded}/countries/GB/troops?as_of=2025-03-28")
    expect(page.locator("blockquote")).to_have_text("ready to operationalise")


def test_the_country_of_the_map_opens_the_same(visit: Visits, world: str) -> None:
    page = visit(f"{world}/?{DAY}&component=troops")
    page.locator('[id="map.FR"]').click(position={"x": 60, "y": 60})

    expect(page.get_by_role("dialog", name="France: troops")).to_be_visible()


def test_countries_beyond_the_map_are_tiles(visit: Visits, world: str) -> None:
    page = visit(f"{world}/?{DAY}")

    for name in ("Australia", "Canada", "Japan", "New Zealand", "United States", "Malta"):
        expect(page.locator(".tiles").get_by_text(name, exact=True)).to_be_visible()


def test_the_map_has_the_colours_of_the_table(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/?as_of=2025-03-28")

    for place in ('[id="GB.troops"] .swatch rect', '[id="map.GB"] path'):
        expect(page.locator(place)).to_have_attribute("fill", "url(#p-planned)")


@pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without scripts"])
def test_the_days_of_change_are_stepped_through(visit: Visits, seeded: str, javascript: bool) -> None:
    page = visit(f"{seeded}/?component=troops", java_script_enabled=javascript)
    page.locator("#previous").click()
    expect(page).to_have_url(re.compile(r"as_of=2025-03-28"))
    expect(page.locator("#as_of")).to_have_value("2025-03-28")
    page.locator("#previous").click()

    expect(page.locator("#as_of")).to_have_value("2025-03-27")
    expect(page.locator("tbody").get_by_role("rowheader")).to_have_text(["France", "United Kingdom"])
    assert "component=troops" in page.url
    page.locator("#today").click()
    expect(page).to_have_url(f"{seeded}/?component=troops")


@pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without scripts"])
def test_a_day_is_given_in_the_form(visit: Visits, seeded: str, javascript: bool) -> None:
    page = visit(f"{seeded}/?component=air", java_script_enabled=javascript)
    page.locator("#as_of").fill("2025-03-27")
    page.get_by_role("button", name="Show").first.click()

    expect(page).to_have_url(re.compile(r"as_of=2025-03-27"))
    expect(page.locator("tbody").get_by_role("rowheader")).to_have_text(["France", "United Kingdom"])
    assert "component=air" in page.url


def test_the_slider_moves_over_the_days_of_change(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/?as_of=2025-03-28")
    slider = page.get_by_role("slider")
    slider.focus()
    expect(slider).to_have_attribute("aria-valuetext", "28 March 2025, 2 of 2")
    page.keyboard.press("ArrowLeft")

    expect(page).to_have_url(f"{seeded}/?as_of=2025-03-27")
    expect(page.locator(".stand time")).to_have_text("27 March 2025")
    expect(slider).to_have_attribute("aria-valuetext", "27 March 2025, 1 of 2")
    expect(page.locator("#stop")).to_be_focused()
    expect(page.locator("#status")).to_contain_text("27 March 2025")


def test_the_way_back_leads_through_the_days(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/")
    page.locator("#previous").click()
    expect(page.locator("#as_of")).to_have_value("2025-03-28")
    page.go_back()

    expect(page).to_have_url(f"{seeded}/")
    expect(page.locator("#previous")).to_contain_text("28 March 2025")


def test_the_record_is_read_as_it_was_known(visit: Visits, world: str) -> None:
    page = visit(f"{world}/?seq=10&as_of=2025-10-15")

    expect(page.get_by_role("note")).to_contain_text("as it was known at entry 10")
    expect(page.locator("#record")).to_contain_text("entry 10")
    page.get_by_role("link", name="Read it as known now").click()
    expect(page).to_have_url(f"{world}/?as_of=2025-10-15")
    expect(page.get_by_role("note")).to_have_count(0)


@pytest.mark.parametrize("javascript", [True, False], ids=["with scripts", "without scripts"])
def test_another_component_is_put_on_the_map(visit: Visits, world: str, javascript: bool) -> None:
    page = visit(f"{world}/?{DAY}", java_script_enabled=javascript)
    page.locator("#tab_air").click()

    expect(page.get_by_role("heading", name="On the map: air")).to_be_visible()
    expect(page.get_by_role("heading", name="Over time: air")).to_be_visible()
    assert page.url.startswith(f"{world}/?{DAY}&component=air")


def test_two_days_are_compared(visit: Visits, world: str) -> None:
    page = visit(f"{world}/diff?from=2025-05-01&to=2025-07-01")
    for title in ("New", "Changed", "Withdrawn"):
        expect(page.get_by_role("heading", name=re.compile(f"^{title}"), level=2)).to_be_visible()
    page.locator("#from").fill("2025-05-15")
    page.get_by_role("button", name="Compare").click()

    expect(page).to_have_url(re.compile("from=2025-05-15&to=2025-07-01"))
    withdrawn = page.locator(".differences").nth(2)
    expect(withdrawn).to_contain_text("Moldova: sea")
    expect(withdrawn.locator(".from a").first).to_have_attribute("href", re.compile("https://example.org/"))


def test_a_country_has_a_page(visit: Visits, world: str) -> None:
    page = visit(f"{world}/countries/srb?{DAY}")

    expect(page.get_by_role("heading", level=1)).to_have_text("Serbia")
    expect(page.locator("#positions")).to_contain_text("contested")
    expect(page.get_by_role("heading", name="Sources")).to_be_visible()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/", "An empty tracker"),
        ("/countries/PL", "Nothing is recorded of Poland"),
        ("/countries/PL/troops", "None recorded"),
        ("/diff", "No position changed."),
    ],
)
def test_an_empty_tracker_says_so(visit: Visits, nothing: str, path: str, told: str) -> None:
    page = visit(nothing + path)

    expect(page.locator("main")).to_contain_text(told)


def test_a_day_before_the_first_statement_leads_to_it(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/?as_of=2024-12-31")
    expect(page.locator("#matrix")).to_contain_text("Before the first statement")
    page.get_by_role("link", name="27 March 2025", exact=True).click()

    expect(page.locator("tbody").get_by_role("row")).to_have_count(2)


def test_a_country_that_is_none_has_a_page_that_says_so(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/countries/ZZ")

    expect(page.locator("main")).to_contain_text("No such country")
    expect(page.get_by_role("link", name="To the dashboard")).to_be_visible()


def test_a_day_that_is_none_is_explained(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/?as_of=2025-02-30")

    expect(page.locator("main li")).to_contain_text("as_of")


def test_nothing_is_loaded_from_elsewhere_and_little_altogether(visit: Visits, world: str) -> None:
    page = visit("about:blank")
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    received: list[float] = []
    network.on("Network.loadingFinished", lambda done: received.append(done["encodedDataLength"]))
    page.goto(f"{world}/?{DAY}")
    page.get_by_role("slider").wait_for()

    assert visit.foreign(world) == ["about:blank"] or visit.foreign(world) == []
    assert len(received) >= 3
    assert sum(received) < FIRST_LOAD
