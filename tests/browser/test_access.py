from collections.abc import Sequence
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visits

VIEWS = (
    "/?as_of=2025-10-15",
    "/?as_of=2025-10-15&component=air&seq=25",
    "/?as_of=2024-01-01",
    "/countries/PL?as_of=2025-10-15",
    "/countries/RS/troops?as_of=2025-10-15",
    "/countries/DE/air",
    "/countries/CH",
    "/countries/ZZ",
    "/diff?from=2025-05-01&to=2025-07-01",
    "/codebook",
)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OF_COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules whose answer depends on the colour scheme."""
SMALLEST_TARGET = 24


def violations(page: Page, rules: Sequence[str] = RULES) -> list[tuple[str, list[Any]]]:
    """Return what axe finds, with where it finds it."""
    answer = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": rules})
    return [
        (each["id"], [node["target"] for node in each["nodes"]]) for each in answer.response["violations"]
    ]


@pytest.mark.parametrize("path", VIEWS)
def test_axe_finds_nothing_in_light_or_dark(visit: Visits, world: str, path: str) -> None:
    page = visit(world + path, bypass_csp=True)
    for details in page.locator("main details").all():
        details.evaluate("details => details.open = true")
    light = violations(page)
    page.emulate_media(color_scheme="dark")

    assert (light, violations(page, OF_COLOURS)) == ([], [])


def test_axe_finds_nothing_in_an_open_cell(visit: Visits, world: str) -> None:
    page = visit(f"{world}/?as_of=2025-10-15#RS.troops", bypass_csp=True)
    page.get_by_role("dialog").wait_for()

    assert violations(page) == []


def test_axe_finds_nothing_in_an_empty_tracker(visit: Visits, nothing: str) -> None:
    page = visit(f"{nothing}/", bypass_csp=True)

    assert violations(page) == []


@pytest.mark.parametrize("path", VIEWS)
def test_a_page_of_320_pixels_needs_no_scrolling_to_the_side(visit: Visits, world: str, path: str) -> None:
    page = visit(world + path, width=320)
    for details in page.locator("main details").all():
        details.evaluate("details => details.open = true")

    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/?as_of=2025-03-28")
    page.get_by_role("slider").wait_for()
    reached: list[str] = []
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        if reached[-1] == "tile.last" or page.evaluate("document.activeElement === document.body"):
            break
    order = ["as_of", "previous", "stop", "FR.troops", "IT.troops", "GB.troops", "GB.air", "tab_troops"]
    found = [each for each in dict.fromkeys(reached) if each in order]

    assert found == order
    assert {"map.FR", "map.IT", "map.GB"} <= set(reached)


def test_a_cell_is_opened_and_closed_by_the_keyboard_alone(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/?as_of=2025-03-28")
    for place in ('[id="IT.troops"]', '[id="map.IT"]'):
        page.locator(place).focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Italy: troops")
        expect(dialog).to_be_visible()
        expect(dialog.get_by_role("button", name="Close")).to_be_focused()
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        expect(page.locator(place)).to_be_focused()


def test_the_first_key_leads_past_the_head_of_the_page(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.locator("#main")).to_be_focused()


def test_what_has_the_focus_is_seen(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/?as_of=2025-03-28")
    page.keyboard.press("Tab")
    page.locator('[id="FR.troops"]').focus()
    outline = page.locator('[id="FR.troops"]').evaluate("each => getComputedStyle(each).outlineStyle")
    page.locator('[id="map.FR"]').focus()
    stroke = page.locator('[id="map.FR"] path').evaluate("each => getComputedStyle(each).strokeWidth")

    assert (outline, stroke) == ("solid", "6px")


@pytest.mark.parametrize("width", [320, 1280])
def test_what_is_pressed_is_large_enough(visit: Visits, world: str, width: int) -> None:
    page = visit(f"{world}/?as_of=2025-10-15", width=width)
    page.get_by_role("slider").wait_for()
    controls = page.locator("button, input, .button, .tabs a, .tile, td a.open, summary")
    sizes = controls.evaluate_all(
        """all => all.filter(each => each.checkVisibility()).map(each => {
            const {width, height} = each.getBoundingClientRect();
            return [each.id || each.textContent, Math.min(width, height)];
        })"""
    )

    assert len(sizes) > 100
    assert [each for each in sizes if each[1] < SMALLEST_TARGET] == []


def test_the_map_is_told_in_words(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/?as_of=2025-03-28")
    drawing = page.get_by_role("group", name="Map of Europe by what countries hold on troops")

    expect(drawing.get_by_role("link", name="United Kingdom: troops, planned, conditional")).to_be_visible()
    expect(drawing.get_by_role("link", name="Italy: refusal, leaning")).to_be_visible()


def test_nothing_moves_for_those_who_want_no_motion(visit: Visits, seeded: str) -> None:
    page = visit(f"{seeded}/", reduced_motion="reduce")
    page.locator(".latest > li").first.evaluate("each => each.classList.add('fresh')")

    assert page.evaluate("document.getAnimations().length") == 0


def test_forced_colours_leave_patterns_and_borders(visit: Visits, world: str) -> None:
    page = visit(f"{world}/?as_of=2025-10-15", forced_colors="active")
    ground, line = (
        page.locator(f"#p-planned .{part}").first.evaluate(
            "(each, name) => getComputedStyle(each)[name]", name
        )
        for part, name in (("ground", "fill"), ("line", "stroke"))
    )

    assert ground != line
