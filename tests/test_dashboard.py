import json
import re
from collections.abc import Iterator
from datetime import date
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app.db import ROOT
from app.main import create_app
from app.pages import europe, web_url
from app.settings import Settings
from tests import make
from tests.browser.world import record_world
from tests.conftest import Clock, client

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
WORLD = (
    {"stated_on": "2025-03-27", "conditions": [{"type": "ceasefire"}]},
    {"stated_on": "2025-04-10", "firmness": "committed"},
    {"country": "FR", "kind": "air", "firmness": "considering", "stated_on": "2025-04-02"},
    {"country": "DE", "kind": "support", "component": "training", "stated_on": "2025-04/2025-05"},
    {"country": "GB", "authority": "media", "kind": "sea", "stated_on": "2025-04-01"},
    {"country": "AU", "stated_on": "2025-04-03"},
)


class Links(HTMLParser):
    """Collects where a page leads, and what it is told to load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value for name, value in attrs if name in ("href", "src", "action") and value]


@pytest.fixture
def world(contributor: TestClient, clock: Clock) -> TestClient:
    """Somebody without a key, on a record of seven entries; it is 15 January 2026."""
    assert clock.now.year == 2026
    for fields in WORLD:
        make.state(contributor, **fields)
    make.correct(contributor, 3, summary="What was really said.")
    return client(contributor.app)  # type: ignore[arg-type]


def page(anyone: TestClient, path: str, status: int = 200) -> str:
    answer = anyone.get(path, headers=BROWSER)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    return answer.text


def cell(text: str, name: str) -> str:
    """Return the words of a cell of the matrix."""
    found = re.search(rf'<td[^>]*>(?:(?!</td>).)*id="{re.escape(name)}".*?</td>', text, re.DOTALL)
    assert found is not None, f"no cell {name}"
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0].rpartition("<td")[2]))


def test_a_cell_holds_what_the_api_says(world: TestClient) -> None:
    text = page(world, "/?as_of=2025-04-05")

    assert "planned" in cell(text, "PL.troops")
    assert "conditional" in cell(text, "PL.troops")
    assert "considering" in cell(text, "FR.air")
    assert "possible" in cell(text, "DE.training")
    assert "none recorded" in cell(text, "GB.sea")
    assert "1 report" in cell(text, "GB.sea")


def test_the_days_of_change_lie_around_the_day(world: TestClient) -> None:
    text = page(world, "/?as_of=2025-04-05&component=air")

    assert re.search(r'rel="prev" href="/\?as_of=2025-04-03&amp;component=air"', text)
    assert re.search(r'rel="next" href="/\?as_of=2025-04-10&amp;component=air"', text)
    assert 'data-days="2025-03-27 2025-04-02 2025-04-03 2025-04-05 2025-04-10 2025-05-31"' in text


def test_what_is_downloaded_is_what_is_shown(world: TestClient) -> None:
    text = page(world, "/?as_of=2025-04-05&seq=2")
    found = [link for link in Links(text).found if link.startswith("/v1/") and "positions" in link]

    assert len(found) >= 5
    assert {("as_of=2025-04-05" in link, "seq=2" in link) for link in found} == {(True, True)}


def test_a_state_of_the_record_is_kept_from_page_to_page(world: TestClient) -> None:
    text = page(world, "/?seq=2&as_of=2025-04-20")
    inner = [link for link in Links(text).found if link.startswith(("/?", "/countries", "/diff"))]

    assert len(inner) > 5
    assert [link for link in inner if "seq=2" not in link and link != "/?as_of=2025-04-20"] == []


def test_an_instant_names_a_state_of_the_record(world: TestClient, contributor: TestClient) -> None:
    instant = contributor.get("/v1/changes/2").json()["recorded_at"]
    text = page(world, f"/?as_of=2025-04-05&known_at={instant}")

    assert "as it was known at entry 2" in re.sub(r"\s+", " ", text)
    assert "FR.air" not in text
    assert f'name="known_at" value="{instant}"' in text


def test_before_the_first_entry_nothing_was_recorded(world: TestClient) -> None:
    assert "Nothing had been recorded by then." in page(world, "/?seq=0")


def test_every_link_of_every_page_leads_somewhere(world: TestClient) -> None:
    paths = ("/", "/countries/PL", "/countries/PL/troops", "/diff")
    links = {link for path in paths for link in Links(page(world, f"{path}?as_of=2025-04-05")).found}
    inner = {link.partition("#")[0] for link in links if link.startswith("/")}

    assert len(inner) > 50
    assert [path for path in inner if world.get(path, headers=BROWSER).status_code != 200] == []


@pytest.mark.parametrize(
    "path", ["/", "/countries/PL", "/countries/PL/troops", "/countries/poland", "/diff", "/?as_of=never"]
)
def test_a_page_may_load_and_run_nothing_but_our_own_files(world: TestClient, path: str) -> None:
    answer = world.get(path, headers=BROWSER)
    policy = answer.headers["Content-Security-Policy"]
    scripts = re.findall(r"<script[^>]*>", answer.text)

    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert [each for each in scripts if "src=" not in each and "application/ld+json" not in each] == []
    assert not re.search(r"\s(style|on\w+)=", answer.text)


def test_a_page_that_the_browser_has_is_not_sent_again(world: TestClient) -> None:
    first = world.get("/?as_of=2025-04-05&seq=3", headers=BROWSER)
    again = world.get("/?as_of=2025-04-05&seq=3", headers=BROWSER | {"If-None-Match": first.headers["ETag"]})

    assert again.status_code == 304
    # The next release may draw it otherwise.
    assert first.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/countries/PL", "/countries/PL/troops", "/diff"])
def test_head_answers_as_get_does(world: TestClient, path: str) -> None:
    get, head = (world.request(method, path, headers=BROWSER) for method in ("GET", "HEAD"))

    assert (head.status_code, head.text) == (200, "")
    assert head.headers["ETag"] == get.headers["ETag"]


def test_a_file_is_kept_for_good_under_the_address_that_pages_give(anyone: TestClient) -> None:
    style = next(link for link in Links(page(anyone, "/")).found if link.startswith("/web/tracker.css"))

    assert "immutable" in anyone.get(style).headers["Cache-Control"]
    assert anyone.get("/web/tracker.css?v=old").headers["Cache-Control"] == "no-cache"
    assert anyone.get("/web/tracker.css").headers["ETag"]


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/countries/ZZ", 404, "No such country"),
        ("/countries/PL/tanks", 404, "No such component"),
        ("/?as_of=2025-02-30", 422, "as_of"),
        ("/?country=PL", 422, "There is no such parameter"),
        ("/diff?from=yesterday", 422, "from"),
        ("/?seq=99", 422, "The record has no such entry yet."),
        ("/nowhere", 404, "Nothing is at this address."),
    ],
)
def test_a_fault_is_told_as_a_page_to_a_browser_and_as_a_problem_to_a_program(
    anyone: TestClient, path: str, status: int, told: str
) -> None:
    program = anyone.get(path)

    assert told in page(anyone, path, status)
    # What the address of an API answers is for programs, whoever asks.
    assert anyone.get(f"/v1{path}", headers=BROWSER).headers["Content-Type"] == "application/problem+json"
    assert (program.status_code, program.headers["Content-Type"]) == (status, "application/problem+json")


@pytest.fixture
def without_database() -> Iterator[TestClient]:
    app = create_app(Settings(database_url="sqlite:////nonexistent/tracker.db", _env_file=None))
    yield client(app)
    app.state.database.close()


@pytest.mark.parametrize("path", ["/", "/countries/PL", "/diff"])
def test_a_database_that_is_away_has_a_page(without_database: TestClient, path: str) -> None:
    answer: Response = without_database.get(path, headers=BROWSER)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert "The record cannot be reached just now" in answer.text


def test_the_head_describes_the_data_set(world: TestClient) -> None:
    found = re.search(r'<script type="application/ld\+json">(.*?)</script>', page(world, "/"), re.DOTALL)
    assert found is not None
    described = json.loads(found[1])

    assert (described["@type"], described["version"]) == ("Dataset", "0.7.0")
    assert described["temporalCoverage"] == "2025-03-27/2025-05-31"
    assert all(world.get(each["contentUrl"]).status_code == 200 for each in described["distribution"])


def test_a_line_shows_what_was_corrected_and_why(world: TestClient) -> None:
    text = page(world, "/countries/FR/air")

    assert re.search(r"<b>Corrected</b>: A slip\.\s+<del>air, considering: A statement\.</del>", text)
    assert "<ins>air, considering: What was really said.</ins>" in text


def test_the_codebook_defines_every_word(anyone: TestClient) -> None:
    text = unescape(page(anyone, "/codebook"))
    terms = [term for words in anyone.get("/v1/vocabulary").json()["sets"].values() for term in words]

    assert len(terms) > 60
    assert [each for each in terms if each["definition"] not in text] == []


def test_two_days_are_compared_in_three_lists(world: TestClient) -> None:
    text = page(world, "/diff?from=2025-03-27&to=2025-04-10")
    lists = re.findall(r'<h2>(\w+) <span class="tally">(\d+)</span>', text)

    assert lists == [("New", "2"), ("Changed", "1"), ("Withdrawn", "0")]
    assert "3" not in {count for _, count in lists}


def test_left_to_itself_the_comparison_is_of_the_last_change(world: TestClient) -> None:
    text = page(world, "/diff?as_of=2025-04-10")

    assert 'name="from" value="2025-04-03"' in text
    assert 'name="to" value="2025-04-10"' in text


def test_a_statement_recorded_later_is_on_the_page_at_once(
    contributor: TestClient, world: TestClient
) -> None:
    before = world.get("/?as_of=2025-06-01", headers=BROWSER)
    make.state(contributor, country="NO", stated_on="2025-05-20")
    after = world.get("/?as_of=2025-06-01", headers=BROWSER)

    assert before.headers["ETag"] != after.headers["ETag"]
    assert "2025-05-20" in after.text
    assert "planned" in cell(after.text, "NO.troops")


@pytest.mark.parametrize("day", ["0001-01-01", "2024-01-01", "9999-12-31"])
def test_the_ends_of_the_calendar_have_pages(world: TestClient, day: str) -> None:
    for path in (f"/?as_of={day}", f"/countries/PL?as_of={day}", f"/diff?from={day}&to=2025-04-01"):
        page(world, path)


def test_markup_in_the_record_is_text_on_every_page(contributor: TestClient) -> None:
    markup = "</script><img src=x onerror=alert(1)>"
    source = {"title": markup, "publisher": markup}
    make.state(contributor, summary=markup, speaker=markup, quote=markup, notes=markup, source=source)
    for path in ("/", "/countries/PL", "/countries/PL/troops", "/diff?from=2025-03-26&to=2025-03-27"):
        text = page(contributor, path)

        assert "&lt;img src=x onerror=alert(1)&gt;" in text
        assert "<img" not in text


def test_only_an_address_of_the_web_becomes_a_link() -> None:
    hostile = (
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "//x",
    )
    odd = ("vbscript:x", "http//x", "https", "", None, "http://[", "\x01javascript:alert(1)")

    assert [url for url in (*hostile, *odd) if web_url(url) is not None] == []
    assert web_url("HTTPS://example.org/a") == "HTTPS://example.org/a"


def test_the_map_shows_crimea_as_ukraine_and_kosovo_by_itself() -> None:
    shapes = {shape.alpha3: shape for shape in europe()}
    ukraine = [(int(x), int(y)) for x, y in re.findall(r"[ML](-?\d+),(-?\d+)", shapes["UKR"].outline)]
    russia = [(int(x), int(y)) for x, y in re.findall(r"[ML](-?\d+),(-?\d+)", shapes["RUS"].outline)]
    crimea = {(x, y) for x, y in ukraine if x >= 800 and y >= 585}

    assert {"XKX", "UKR", "CYP", "TUR", "ISL"} <= shapes.keys()
    assert "CYN" not in shapes
    assert len(crimea) >= 3
    assert not [point for point in russia if point in crimea]


def test_the_map_loads_nothing_and_runs_nothing() -> None:
    drawn = (ROOT / "app/web/europe.svg").read_text()

    assert set(Links(drawn).tags) == {"svg", "path", "title"}
    assert Links(drawn).found == []


def test_the_chart_counts_what_the_timeline_of_the_api_counts(contributor: TestClient) -> None:
    record_world(contributor)
    for component in ("troops", "air", "training"):
        text = page(contributor, f"/?component={component}&as_of=2026-01-14")
        call = re.search(r'href="(/v1/timeline[^"]*)">JSON', text)
        assert call is not None
        points = contributor.get(unescape(call[1])).json()["items"]
        rows = re.findall(r'<th scope="row">([\d-]+)</th><td>(\d+)</td><td>(\d+)</td>', text)

        assert len(rows) > 10
        assert {day: (int(offers), int(refusals)) for day, offers, refusals in rows} == {
            point["on"]: (count(point, "offer"), count(point, "refusal")) for point in points
        }


def count(point: dict[str, Any], sort: str) -> int:
    """Return how many countries offer, or refuse, at a point of the timeline."""
    return sum(
        each["count"] for each in point["counts"] if (each["kind"] == "refusal") == (sort == "refusal")
    )


def test_the_chart_counts_offers_above_and_refusals_below_the_line(
    contributor: TestClient, world: TestClient
) -> None:
    make.refuse(contributor, country="HU", stated_on="2025-04-05")
    text = page(world, f"/?as_of={date(2025, 4, 12)}")
    zero = float(re.findall(r'class="zero"[^>]* y1="([\d.]+)"', text)[0])
    blocks = re.findall(r'class="block"[^>]* y="([\d.]+)"[^>]* fill="url\(#p-(\w+)\)"', text)
    below = {rung for y, rung in blocks if float(y) >= zero - 0.2}

    assert {rung for _, rung in blocks} == {"planned", "committed", "declared"}
    assert below == {"declared"}
