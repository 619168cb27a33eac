"""A service of Django REST framework (DRF) beside our server, on the same file: `drf_service.py`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import sqlalchemy as sa

from tests.bench.environments import installed
from tests.bench.questions import Parameters, Question
from tests.bench.rows import ASKED
from tests.bench.serving import Server, started

RELEASES = ("django", "djangorestframework", "gunicorn")


def path(question: Question, given: Parameters) -> str | None:
    """Return where the service is asked the same; None for what cannot be asked of it."""
    if question not in ASKED:
        return None
    query, _ = ASKED[question]
    return f"/{query}?{urlencode(given)}"


@contextmanager
def serving(folder: Path, url: str, scratch: Path) -> Iterator[Server | None]:
    """Serve a record, which nobody writes to meanwhile, while the context lasts.

    In one process, as ours is; with threads, because gunicorn's other workers close each connection
    after an answer. Gives None where its packages cannot be installed below `folder`.
    """
    program = installed(folder / "drf", "gunicorn", *RELEASES)
    if program is None:
        yield None
        return
    queries = scratch / "queries.json"
    queries.write_text(json.dumps(dict(ASKED.values())))
    command = [str(program), "tests.bench.drf_service:application", "--bind", "127.0.0.1:{port}"]
    command += ["--worker-class", "gthread", "--threads", "4", "--keep-alive", "60"]
    variables = {"BENCH_QUERIES": str(queries), "BENCH_DATABASE": sa.make_url(url).database or ""}
    with started("drf", command, scratch, variables=variables) as server:
        yield server
