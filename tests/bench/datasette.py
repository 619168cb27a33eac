"""Datasette beside our server, on a copy of the same file, asked by queries that its metadata names."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import sqlalchemy as sa

from tests.bench.environments import installed
from tests.bench.questions import Parameters, Question
from tests.bench.records import copy_file
from tests.bench.rows import ASKED
from tests.bench.serving import Server, started

NAME = "record"
RELEASE = "datasette<1"
"""What is installed: the newest whose queries can be named in its metadata."""

LIMITS = {"sql_time_limit_ms": 60_000, "max_returned_rows": 10_000}


def path(question: Question, given: Parameters) -> str | None:
    """Return where Datasette is asked the same; None for what cannot be asked of it."""
    if question not in ASKED:
        return None
    query, _ = ASKED[question]
    return f"/{NAME}/{query}.json?{urlencode(given | {'_shape': 'array'})}"


@contextmanager
def serving(folder: Path, url: str, scratch: Path) -> Iterator[Server | None]:
    """Serve a copy of a record, which nobody writes to, while the context lasts.

    Gives None where Datasette cannot be installed below `folder`.
    """
    program = installed(folder / "datasette", "datasette", RELEASE)
    if program is None:
        yield None
        return
    copy = scratch / f"{NAME}.db"
    copy_file(Path(sa.make_url(url).database or ""), copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        # No ANALYZE: with its statistics the query for differences takes three times as long.
    queries = {name: {"sql": query} for name, query in ASKED.values()}
    told = scratch / "metadata.json"
    told.write_text(json.dumps({"databases": {NAME: {"queries": queries}}}))
    command = [str(program), "serve", "--immutable", str(copy), "--metadata", str(told), "--port", "{port}"]
    for name, value in LIMITS.items():
        command += ["--setting", name, str(value)]
    with started("datasette", command, scratch) as server:
        yield server
