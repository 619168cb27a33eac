import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APP = ROOT / "app"

ORDER = (
    *(
        "settings",
        "errors",
        "collecting",
        "metrics",
        "logs",
        "beacon",
        "sessions",
        "writers",
        "db",
        "prepared",
        "strict_json",
    ),
    *("items", "vocabulary", "dates", "fields", "countries", "sources", "statements", "pieces", "lines"),
    *("positions", "report_counts", "standings", "spans", "filters", "spelling", "nets", "replay", "hearing"),
    *("digests", "changes", "appending", "intake", "deriving"),
    *(
        "as_of",
        "diff",
        "story",
        "drafts",
        "recording",
        "country_page",
        "overview",
        "summary",
        "chart",
        "export",
        "release",
        "bulk",
        "importing",
        "seed",
        "verify",
        "backup",
        "copying",
    ),
    *(
        "auth",
        "paging",
        "calling",
        "replies",
        "client",
        "retries",
        "following",
        "freshness",
        "limiting",
        "bodies",
        "read_route",
        "deps",
        "edge",
        "caching",
    ),
    "pages",
    "routes",
    *("main", "in_process", "console", "reports", "questions", "server", "keeping", "cli", "__main__"),
)
MAY_SPEAK_HTTP = {"errors", *ORDER[ORDER.index("auth") :]}
SHARED_BY_ROUTES = {"app.routes.filters", "app.routes.answers"}
BANNED = {
    *("utils", "common", "helpers", "core", "base", "services", "repositories"),
    *("crud", "schemas", "types", "misc"),
}
LONGEST = 600

MODULES = sorted(APP.rglob("*.py"))
every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(APP)))


def place(path: Path) -> str:
    first = path.relative_to(APP).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module in ("app", "app.routes"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def own(names: Iterator[str]) -> list[str]:
    return [name for name in names if name.startswith("app.") and name != "app.__version__"]


def sentence_of(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


@every_module
def test_a_module_has_a_place_in_the_order(path: Path) -> None:
    assert place(path) in ("__init__", *ORDER)


@every_module
def test_imports_point_left(path: Path) -> None:
    before = ORDER.index(place(path)) if place(path) in ORDER else 0
    reachable = ORDER[: before + (place(path) == "routes")]

    assert [name for name in own(imports(path)) if name.split(".")[1] not in reachable] == []


def test_nothing_is_imported_relatively() -> None:
    assert [path for path in MODULES for name in imports(path) if name.startswith(".")] == []


@every_module
def test_domain_modules_do_not_speak_http(path: Path) -> None:
    http = [name for name in imports(path) if name.split(".")[0] in ("fastapi", "starlette")]

    assert http == [] or place(path) in MAY_SPEAK_HTTP


@pytest.mark.parametrize("path", sorted(APP.glob("routes/*.py")), ids=lambda path: path.stem)
def test_no_route_imports_another(path: Path) -> None:
    routes = {".".join(name.split(".")[:3]) for name in own(imports(path)) if name.split(".")[1] == "routes"}

    assert routes - SHARED_BY_ROUTES == set()


def test_no_module_has_a_name_that_says_nothing() -> None:
    parts = {part.removesuffix(".py") for path in MODULES for part in path.relative_to(APP).parts}

    assert parts & BANNED == set()


def test_migrations_import_nothing_of_the_application_but_what_fills_derived_tables() -> None:
    versions = sorted(ROOT.glob("migrations/versions/*.py"))
    ours = {name for path in versions for name in imports(path) if name.split(".")[0] == "app"}

    assert len(versions) >= 3
    assert {name for name in ours if not name.startswith("app.deriving")} == set()


def test_every_module_says_what_it_is_for() -> None:
    trees = {path.name: ast.parse(path.read_text()) for path in MODULES}

    assert [name for name, tree in trees.items() if not sentence_of(tree).endswith(".")] == []


def test_every_public_function_says_what_its_signature_cannot() -> None:
    functions = {
        f"{path.stem}.{node.name}": node
        for path in MODULES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    }

    assert len(functions) > 100
    assert [name for name, node in functions.items() if not sentence_of(node).endswith(".")] == []


def test_no_module_is_too_long_to_read() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in MODULES}

    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
