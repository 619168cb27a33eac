import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.settings import Settings
from tests import make
from tests.conftest import Clock, client, on_empty_record
from tests.serving import answering, environment, free_port, wait_until_ready

ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
def address(settings: Settings, tracker: FastAPI) -> Iterator[str]:
    """Where a server of its own serves the record of `tracker`."""
    assert tracker.state.settings is settings
    with answering(settings) as found:
        yield found


def received(response: httpx.Response, count: int) -> list[tuple[str, int]]:
    """Return the id and the seq of the next `count` events."""
    found: list[tuple[str, int]] = []
    event: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            event[name] = value
        elif "data" in event:
            assert event["event"] == "change"
            found.append((event["id"], json.loads(event["data"])["seq"]))
            event = {}
        if len(found) == count:
            break
    return found


def test_a_follower_gets_what_is_there_and_what_comes(address: str, contributor: TestClient) -> None:
    make.state(contributor)

    with httpx.stream("GET", f"{address}/v1/changes/stream?after=0", timeout=20) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        before = [line for line in iter(lambda: next(lines), "") if line]
        while not any(line.startswith("data: ") for line in before):
            before.append(next(lines))
        make.state(contributor, country="DE")
        after: list[str] = []
        while not any(line.startswith("data: ") for line in after):
            after.append(next(lines))

    assert "id: 1" in before
    assert "id: 2" in after


def test_a_follower_goes_on_after_the_last_entry_that_it_had(address: str, contributor: TestClient) -> None:
    for country in ("PL", "DE", "FR"):
        make.state(contributor, country=country)

    headers = {"Last-Event-ID": "1"}
    with httpx.stream("GET", f"{address}/v1/changes/stream", headers=headers, timeout=20) as response:
        assert received(response, 2) == [("2", 2), ("3", 3)]


@pytest.mark.parametrize("last", ["abc", "-1", "1.5", "9" * 20])
def test_a_follower_who_was_nowhere_is_told_so(anyone: TestClient, last: str) -> None:
    answer = anyone.get("/v1/changes/stream", headers={"Last-Event-ID": last})

    assert answer.status_code == 422
    assert [error["parameter"] for error in answer.json()["errors"]] == ["Last-Event-ID"]


def test_a_follower_may_narrow_what_it_follows(address: str, contributor: TestClient) -> None:
    make.state(contributor)
    make.state(contributor, country="DE")
    make.refuse(contributor)

    with httpx.stream("GET", f"{address}/v1/changes/stream?after=0&country=PL", timeout=20) as response:
        assert received(response, 2) == [("1", 1), ("3", 3)]


def test_the_feed_holds_the_newest_first(contributor: TestClient) -> None:
    make.state(contributor)
    make.retract(contributor, make.refuse(contributor, country="DE", summary="<b>No</b> & never."))

    answer = contributor.get("/v1/changes.atom")

    feed = ET.fromstring(answer.text)
    titles = [entry.findtext(f"{ATOM}title") for entry in feed.iter(f"{ATOM}entry")]
    assert answer.headers["content-type"].startswith("application/atom+xml")
    assert titles == [
        "Entry 2 retracted",
        "Germany: troops: refusal, declared",
        "Poland: troops: planned",
    ]


def test_what_a_client_wrote_is_text_in_the_feed(contributor: TestClient) -> None:
    make.state(contributor, summary="<script>alert(1)</script>")

    feed = ET.fromstring(contributor.get("/v1/changes.atom").text)

    summary = next(feed.iter(f"{ATOM}summary"))
    assert summary.text == "&lt;script&gt;alert(1)&lt;/script&gt;"


def test_a_feed_may_be_of_one_country(contributor: TestClient) -> None:
    make.state(contributor)
    make.state(contributor, country="DE")

    feed = ET.fromstring(contributor.get("/v1/changes.atom", params={"country": "DE"}).text)

    assert len(list(feed.iter(f"{ATOM}entry"))) == 1


def test_a_feed_has_the_address_that_clients_know(settings: Settings) -> None:
    known = settings.model_copy(update={"public_url": "https://tracker.example/of"})
    elsewhere = on_empty_record(known)
    answer = client(elsewhere).get("/v1/changes.atom?country=PL&country=DE", headers={"Host": "inside"})
    elsewhere.state.database.close()

    links = [link.get("href") for link in ET.fromstring(answer.text).findall(f"{ATOM}link")]
    assert "https://tracker.example/of/v1/changes.atom?country=PL&country=DE" in links
    assert "inside" not in answer.text


def test_a_feed_without_entries_is_as_old_as_the_record(contributor: TestClient, clock: Clock) -> None:
    recorded = make.state(contributor)
    clock.pass_(days=1)

    updated = {}
    for asked in ("seq=0", f"seq={recorded}&country=DE"):
        feed = ET.fromstring(contributor.get(f"/v1/changes.atom?{asked}").text)
        updated[asked] = feed.findtext(f"{ATOM}updated")

    entry = contributor.get(f"/v1/changes/{recorded}").json()["recorded_at"]
    assert list(updated.values()) == ["1970-01-01T00:00:00+00:00", f"{entry[:19]}+00:00"]


def test_an_empty_feed_is_a_feed(anyone: TestClient) -> None:
    feed = ET.fromstring(anyone.get("/v1/changes.atom").text)

    assert list(feed.iter(f"{ATOM}entry")) == []


def test_a_server_that_is_told_to_stop_lets_its_followers_go(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--port", str(port)],
        cwd=tmp_path,
        env=environment(f"sqlite:///{tmp_path / 'tracker.db'}"),
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    wait_until_ready(process, address)
    with httpx.stream("GET", f"{address}/v1/changes/stream?after=0", timeout=20) as response:
        assert len(received(response, 5)) == 5
        process.terminate()

        # Less than the ten seconds that are given to requests which do not end by themselves.
        assert process.wait(8) == 0
