import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings

Document = dict[str, Any]


@pytest.fixture(scope="module")
def reader() -> Iterator[TestClient]:
    app = create_app(Settings(database_url="sqlite://", _env_file=None))
    yield TestClient(app)
    app.state.database.close()


@pytest.fixture(scope="module")
def document(reader: TestClient) -> Document:
    found: Document = reader.get("/openapi.json").json()
    return found


def operations(document: Document) -> dict[str, Document]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def examples(document: Document, content: Document) -> list[Any]:
    schema = content["schema"].get("items", content["schema"])
    name = schema.get("$ref", "").rpartition("/")[2]
    whole = document["components"]["schemas"][name] if name else schema
    named = [example["value"] for example in content.get("examples", {}).values()]
    return [*named, *whole.get("examples", []), *([content["example"]] if "example" in content else [])]


def test_the_document_is_valid(document: Document) -> None:
    validate(document)

    assert len(operations(document)) >= 17


def test_every_operation_has_a_name_of_its_own(document: Document) -> None:
    names = [operation["operationId"] for operation in operations(document).values()]

    assert all(re.fullmatch(r"[a-z_]+", name) for name in names)
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("told", ["summary", "description", "tags"])
def test_every_operation_says_what_it_is_for(document: Document, told: str) -> None:
    assert [name for name, operation in operations(document).items() if not operation.get(told)] == []


def test_every_tag_is_explained(document: Document) -> None:
    used = {tag for operation in operations(document).values() for tag in operation["tags"]}

    assert used == {tag["name"] for tag in document["tags"] if tag["description"]}


def test_every_body_has_an_example(document: Document) -> None:
    bodies = {
        f"{name} {media}": examples(document, content)
        for name, operation in operations(document).items()
        for media, content in operation.get("requestBody", {}).get("content", {}).items()
    }

    assert len(bodies) >= 4
    assert [name for name, found in bodies.items() if not found] == []


def test_every_operation_declares_that_it_refuses_what_is_not_valid(document: Document) -> None:
    answers = {
        name: operation["responses"].get("422", {}).get("content")
        for name, operation in operations(document).items()
    }
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}

    assert {name: content for name, content in answers.items() if content != problem} == {}


def test_every_parameter_is_explained(document: Document) -> None:
    parameters = [
        f"{name} {parameter['name']}"
        for name, operation in operations(document).items()
        for parameter in operation.get("parameters", [])
        if not (parameter.get("description") or parameter["schema"].get("description"))
    ]

    assert parameters == []


def test_the_docs_load_nothing_from_another_host(reader: TestClient) -> None:
    page = reader.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)

    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<]*", page) == []
    assert len(loaded) >= 3
    assert [path for path in loaded if reader.get(path).status_code != 200] == []
