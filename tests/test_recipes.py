import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.auth import create_key
from app.db import ROOT, Database
from app.seed import seed
from app.settings import Settings
from app.vocabulary import Scope
from tests import serving

HERE = "http://127.0.0.1:8000"
RUNNERS = {"sh": "bash", "js": "node"}
RUN = {"curl": "curl", "JavaScript": "node", "Frictionless": "bash", "Excel": "curl"}
"""The sections that are run, each with the tool that it needs."""
COLUMNS = {
    "python": r'(?:\[|columns=|index=|values=|, )"([a-z_]+)"',
    "r": r"\$([a-z_]+)",
    "js": r"\bd\.([a-z_]+)\b(?!\()",
    "powerquery": r'\{"([a-z_]+)", ',
    "sh": r"(?<=[ (])([a-z_]+)(?=,| <=| >| IS|\n|\")",
}
"""How each language names columns; in the shell, SQL does."""


@dataclass(frozen=True)
class Recipe:
    """A piece of code in a page of ours, and the output that the page gives for it."""

    section: str
    language: str
    code: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.section}: {self.code.strip().splitlines()[0][:40]}"

    @property
    def is_run(self) -> bool:
        return self.section in RUN and not (self.section == "Excel" and self.language != "sh")


def recipes(page: str) -> list[Recipe]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found: list[Recipe] = []
    for section in re.split(r"(?m)^## ", text):
        title = section.partition("\n")[0]
        pattern = r"(?ms)^```(\w+)\n(.*?)^```(?:\n\n(?:[^\n`#|]+\n\n)?```\n(.*?)^```)?"
        found += (Recipe(title, *block.groups()) for block in re.finditer(pattern, section))
    return found


RECIPES = recipes("recipes.md")


@pytest.fixture(scope="module")
def live(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a server with the seed data, and a key."""
    folder = tmp_path_factory.mktemp("live")
    shutil.copy(migrated, folder / "tracker.db")
    database = Database(Settings(database_url=f"sqlite:///{folder / 'tracker.db'}", _env_file=None))
    with database.writing() as session:
        seed(session)
        key = create_key(session, "tester", Scope.CONTRIBUTE)
    database.close()
    with serving.served(f"sqlite:///{folder / 'tracker.db'}", folder) as url:
        yield url, key


def environment(key: str) -> dict[str, str]:
    tools = Path(sys.executable).parent
    return dict(os.environ, COALITION_KEY=key, PATH=f"{tools}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("recipe", [each for each in RECIPES if each.is_run], ids=str)
def test_a_recipe_gives_what_the_page_says(recipe: Recipe, live: tuple[str, str], tmp_path: Path) -> None:
    if shutil.which(RUN[recipe.section]) is None:
        pytest.skip(f"no {RUN[recipe.section]} on this machine")
    url, key = live
    file = tmp_path / ("recipe.mjs" if recipe.language == "js" else "recipe.sh")
    file.write_text(recipe.code.replace(HERE, url))
    command = [RUNNERS[recipe.language], str(file)]
    if "stream" in recipe.code:
        command = ["timeout", "3", *command]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(key), capture_output=True, text=True, timeout=60, check=False
    )

    if "stream" in recipe.code:
        assert re.findall(r"(?m)^id: (\d+)$", done.stdout) == ["1", "2", "3", "4", "5"]
    else:
        assert (done.returncode, done.stderr) == (0, "")
    if recipe.output is not None:
        assert done.stdout == recipe.output


def addresses(recipe: Recipe) -> list[str]:
    """Return the addresses that a recipe asks, whichever way it writes them."""
    found = [str(url) for url in re.findall(rf"{HERE}[^\s'\"]*", recipe.code)]
    query = re.search(r"\[Query = \[(.*?)\]", recipe.code)
    if query is not None:
        pairs = re.findall(r'(\w+) = "([^"]*)"', query[1])
        found = [f"{url}?{'&'.join(f'{name}={value}' for name, value in pairs)}" for url in found]
    return found


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_what_a_recipe_asks_for_is_there(recipe: Recipe, live: tuple[str, str]) -> None:
    url, _ = live
    asked = [address for address in addresses(recipe) if "stream" not in address and "dry_run" not in address]

    assert addresses(recipe) != []
    for address in asked:
        answer = httpx.get(address.replace(HERE, url))
        assert answer.status_code == 200, answer.text


def named(answer: httpx.Response) -> set[str]:
    """Return the columns of a table, or the fields of what a list holds."""
    if answer.headers["content-type"].startswith("text/csv"):
        return set(next(csv.reader(answer.text.splitlines())))
    items = answer.text.splitlines() if "ndjson" in answer.headers["content-type"] else None
    first = json.loads(items[0]) if items else answer.json()["items"][0]
    return set(first) | set(first["source"])


@pytest.mark.parametrize(
    "recipe", [each for each in RECIPES if each.language != "sh" or "SELECT" in each.code], ids=str
)
def test_the_columns_that_a_recipe_names_are_there(recipe: Recipe, live: tuple[str, str]) -> None:
    url, _ = live
    used = set(re.findall(COLUMNS[recipe.language], recipe.code))
    there = named(httpx.get(addresses(recipe)[0].replace(HERE, url)))

    assert len(used) >= 1
    assert used - there == set()


def test_the_page_says_which_recipes_are_run() -> None:
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    told = {row.split("|")[1].strip(): row.split("|")[2].strip() for row in re.findall(r"(?m)^\|.*\|$", page)}
    sections = {recipe.section for recipe in RECIPES}
    listed = {tool: words for tools, words in told.items() for tool in tools.split(", ")}

    assert sections <= set(listed)
    assert {tool for tool, words in listed.items() if words == "run in the tests"} == set(RUN) - {"Excel"}


def test_the_client_session_goes_as_the_page_shows_it(migrated: Path, tmp_path: Path) -> None:
    shutil.copy(migrated, tmp_path / "tracker.db")
    database_url = f"sqlite:///{tmp_path / 'tracker.db'}"
    database = Database(Settings(database_url=database_url, _env_file=None))
    with database.writing() as session:
        seed(session)
        key = create_key(session, "tester", Scope.CONTRIBUTE)
    database.close()
    session_shown = next(each for each in recipes("client.md") if each.language == "python")
    with serving.answering(Settings(database_url=database_url, _env_file=None)) as url:
        code = session_shown.code.replace(HERE, url)
        printed = subprocess.check_output(
            [sys.executable, "-c", code], cwd=ROOT, env=environment(key), text=True
        )

    assert printed == session_shown.output
