import json
import logging
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

import app.routes.positions
from app.logs import ACCESS, JSONLines, Lines, configuration
from app.settings import Settings
from tests import make

SECRET = "cct_0123456789ab_f00dfeed"


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, ACCESS.name)
    return caplog


def events(logged: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    found = [record for record in logged.records if record.name == ACCESS.name]
    return [json.loads(JSONLines().format(record)) for record in found]


def test_each_answer_is_an_event(contributor: TestClient, logged: pytest.LogCaptureFixture) -> None:
    contributor.post("/v1/positions", json=make.body(), headers={"X-Request-ID": "mine"})
    event = events(logged)[0]

    assert list(event) == [
        *("at", "level", "logger", "message"),
        *("request_id", "method", "route", "status", "duration_ms", "key_id"),
    ]
    assert (event["level"], event["request_id"], event["method"]) == ("info", "mine", "POST")
    assert (event["route"], event["status"]) == ("/v1/positions", 201)
    assert event["key_id"] == contributor.headers["Authorization"].split("_")[1]


def test_no_key_no_body_and_no_query_is_logged(
    anyone: TestClient, contributor: TestClient, logged: pytest.LogCaptureFixture
) -> None:
    logged.set_level(logging.DEBUG)
    key = contributor.headers["Authorization"]
    contributor.post("/v1/positions", json=make.body(summary=f"Body {SECRET}"))
    contributor.post(f"/v1/positions?key={SECRET}", json={"summary": SECRET})
    anyone.get(f"/v1/{SECRET}?key={SECRET}")
    anyone.post("/v1/positions", headers={"Authorization": f"Bearer {SECRET}"}, json={})
    formatters = (JSONLines(), Lines())
    ours = [record for record in logged.records if not record.name.startswith(("httpx", "asyncio"))]
    text = "\n".join(each.format(record) for record in ours for each in formatters)

    assert len(ours) >= 4
    assert SECRET not in text
    assert key.removeprefix("Bearer ") not in text


def test_a_fault_of_ours_is_an_error_with_the_id_that_the_client_got(
    contributor: TestClient, logged: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.routes.positions, "state", None)
    answer = contributor.post("/v1/positions", json=make.body())
    event = events(logged)[-1]

    assert answer.status_code == 500
    assert (event["level"], event["status"]) == ("error", 500)
    assert answer.json()["instance"] == f"request:{event['request_id']}"


def test_an_event_is_one_line_whatever_it_says(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("any").exception("first\nsecond")
    line = JSONLines().format(caplog.records[0])

    assert "\n" not in line
    assert json.loads(line)["message"] == "first\nsecond"
    assert "ValueError: two\nlines" in json.loads(line)["exception"]


@pytest.mark.parametrize(("form", "formatter"), [("json", JSONLines), ("text", Lines)])
def test_the_form_and_the_level_are_set(form: str, formatter: type) -> None:
    settings = Settings.model_validate({"log_format": form, "log_level": "error"})
    found = configuration(settings)

    assert found["formatters"]["set"]["()"] is formatter
    assert found["root"]["level"] == "ERROR"


@pytest.fixture
def spans(tracker: FastAPI) -> Iterator[InMemorySpanExporter]:
    """The traces of the application, kept here instead of sent."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracker._telemetry["tracing"] = True
    tracker._telemetry["tracer_provider"] = provider
    yield exporter
    provider.shutdown()


def test_a_request_is_traced_by_its_route(spans: InMemorySpanExporter, contributor: TestClient) -> None:
    contributor.post("/v1/positions", json=make.body(summary=f"Body {SECRET}"))
    found = {span.name: span for span in spans.get_finished_spans()}
    told = "".join(span.to_json() for span in found.values())

    attributes = found["POST /v1/positions"].attributes or {}
    assert attributes["http.response.status_code"] == 201
    assert SECRET not in told
    assert contributor.headers["Authorization"].removeprefix("Bearer ") not in told
