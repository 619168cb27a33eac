import re

import pytest

from app.db import ROOT
from app.errors import every_error
from app.main import create_app
from app.settings import Settings
from app.vocabulary import Component, Firmness, Kind

README = ROOT / "README.md"
METHODS = ("get", "post", "put", "patch", "delete")


def readme() -> str:
    return README.read_text(encoding="utf-8")


def words_in_code() -> set[str]:
    """Return the words that the README sets as code, fenced blocks left out."""
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", readme()))
    return {word for span in spans for word in re.findall(r"[\w-]+", span)}


def routes() -> list[str]:
    app = create_app(Settings(database_url="sqlite://", _env_file=None))
    paths = app.openapi()["paths"]
    app.state.database.close()
    return [f"{method.upper()} {path}" for path in paths for method in METHODS if method in paths[path]]


def test_every_setting_is_documented() -> None:
    settings = {f"TRACKER_{name.upper()}" for name in Settings.model_fields}

    assert settings - words_in_code() == set()


def test_no_setting_is_documented_that_is_not_there() -> None:
    settings = {f"TRACKER_{name.upper()}" for name in Settings.model_fields}

    assert set(re.findall(r"TRACKER_[A-Z_]+[A-Z]", readme())) - settings == set()


def test_every_error_type_is_documented() -> None:
    assert {error.code for error in every_error()} - words_in_code() == set()


@pytest.mark.parametrize("words", [Kind, Component, Firmness], ids=lambda words: words.__name__)
def test_every_word_is_documented(words: type[Kind | Component | Firmness]) -> None:
    assert {word.value for word in words} - words_in_code() == set()


def test_every_route_is_documented() -> None:
    lines = readme().splitlines()

    def is_documented(route: str) -> bool:
        method, path = route.split(" ")
        named = re.compile(rf"{re.escape(path)}(?![\w/{{.-])")
        return any(re.search(rf"\b{method}\b", line) and named.search(line) for line in lines)

    assert [route for route in routes() if not is_documented(route)] == []
