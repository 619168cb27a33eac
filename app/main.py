"""The application: settings in, ASGI application out."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi_offline import FastAPIOffline

from app import __version__
from app.caching import Cache
from app.collecting import collect_seldom
from app.db import Database
from app.deps import NotModified
from app.edge import Edge, OnlyWith
from app.errors import MEDIA_TYPE, install_error_handlers
from app.following import Watch
from app.limiting import Limits
from app.metrics import tell_hits
from app.pages import WebFiles, install_fault_pages
from app.read_route import AtOnce, check_query
from app.routes import (
    changes,
    countries,
    dashboard,
    diff,
    export,
    feeds,
    operations,
    positions,
    sources,
    summary,
)
from app.settings import Settings

DESCRIPTION = """\
What countries say they will, might or will not give to the Ukraine reassurance force: troops, air,
sea, refusal and other support. Every fact leads to its source, nothing recorded is ever lost, and
any answer can be asked again for any day (`as_of`) as it was known at any moment (`known_at`, or
`seq`).

Reading is open to all. Writing needs an API key: `Authorization: Bearer <key>`. Every error is a
problem (RFC 9457) that names the fault and its cure. The data are under CC BY 4.0.
"""

TAGS = [
    {"name": "positions", "description": "What countries hold, and stating it."},
    {"name": "countries", "description": "Countries with what they hold."},
    {"name": "changes", "description": "The ledger: every statement, correction and retraction."},
    {"name": "diff", "description": "What differs between two days or two states of knowledge."},
    {"name": "sources", "description": "Publications, with what they support."},
    {"name": "charts", "description": "Counts, on a day and over time."},
    {"name": "export", "description": "Whole tables, streamed."},
    {"name": "codebook", "description": "What the words mean."},
    {"name": "operations", "description": "Whether the service is well."},
]

EXPOSED = ["ETag", "Ledger-Digest", "Ledger-Seq", "Link", "Location", "Retry-After", "X-Request-ID"]
"""Headers that a page of another origin may read."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return an application of its own: run with `uvicorn --factory app.main:create_app`."""
    settings = settings or Settings()
    database = Database(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        # A writer asks the database a dozen times and waits its turn to run after each answer; at
        # Python's five milliseconds a turn, a few busy readers would make it wait for a second.
        sys.setswitchinterval(0.0005)
        collect_seldom()
        database.listen()
        yield {"settings": settings, "watch": app.state.watch}
        database.close()
        tell_hits()

    app = FastAPIOffline(
        title="Coalition commitment tracker",
        version=__version__,
        summary="Who said they would give what to the reassurance force, when, and according to whom.",
        description=DESCRIPTION,
        license_info={"name": "Code: MIT; data: CC BY 4.0", "identifier": "MIT"},
        openapi_tags=TAGS,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url="/docs/oauth2-redirect",
        lifespan=lifespan,
        # Without a collector it would be looked up for each answer whether there is one by now.
        telemetry={"auto_configure": True, "tracing": _is_traced(), "metrics": False, "logs": False},
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.database = database
    app.state.watch = Watch(database)
    app.state.limits = Limits(settings)
    install_error_handlers(app)
    install_fault_pages(app)

    @app.exception_handler(NotModified)
    async def unchanged(_: Request, fresh: NotModified) -> Response:
        return Response(status_code=304, headers=fresh.headers)

    app.mount("/web", WebFiles(), name="web")
    # They are tried in this order: what is asked most comes first. Feeds have paths below those of changes.
    routers = (
        positions.router,
        positions.writes,
        feeds.router,
        changes.router,
        diff.router,
        countries.router,
        summary.router,
        sources.router,
        export.router,
        dashboard.router,
        operations.router,
        operations.health,
        positions.bulk,
        changes.writes,
        sources.writes,
    )
    for router in routers:
        app.include_router(router, dependencies=[Depends(check_query)])
    reads = (route for router in routers for route in router.routes)
    app.router.middleware_stack = AtOnce(app.router.middleware_stack, reads)
    app.openapi = partial(document, app)  # type: ignore[method-assign]
    shared = partial(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD"],
        allow_headers=["If-None-Match", "Last-Event-ID", "Ledger-Min-Seq", "X-Request-ID"],
        expose_headers=EXPOSED,
    )
    app.add_middleware(OnlyWith, header=b"origin", middleware=shared)
    # Streams of events are left alone: each must leave at once.
    compressed = partial(GZipMiddleware, minimum_size=1000, compresslevel=4)
    app.add_middleware(OnlyWith, header=b"accept-encoding", middleware=compressed)
    app.add_middleware(Edge)
    if settings.cache_bytes:
        # As middleware it would stand behind the framework's own, and cost twice as much.
        build = app.build_middleware_stack
        front = partial(Cache, state=database.state, limit=settings.cache_bytes)
        app.build_middleware_stack = lambda: front(build())  # type: ignore[method-assign]
    return app


def _is_traced() -> bool:
    """Tell whether the environment says anything to OpenTelemetry."""
    return any(name.startswith("OTEL_") for name in os.environ)


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document; it says of each problem that it comes as one, and as nothing else."""
    if app.openapi_schema is None:
        for operations in FastAPI.openapi(app)["paths"].values():
            for operation in operations.values():
                for answer in operation["responses"].values():
                    content = answer.get("content", {})
                    if MEDIA_TYPE in content:
                        answer["content"] = {MEDIA_TYPE: content[MEDIA_TYPE]}
    return app.openapi_schema or {}
