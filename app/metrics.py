"""What is counted and measured for `GET /metrics`: every figure is declared here, and shared by the process.

With `PROMETHEUS_MULTIPROC_DIR` set, as `serve --workers` does, the figures of all processes of the
server are added up, whichever of them is asked.
"""

import os
import re
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector

REGISTRY = CollectorRegistry()
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)

REQUESTS = Counter("tracker_requests", "Requests answered.", ["method", "route", "status"], registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "tracker_request_seconds",
    "Time until an answer begins.",
    ["method", "route"],
    buckets=BUCKETS,
    registry=REGISTRY,
)
WRITE_WAIT_SECONDS = Histogram(
    "tracker_write_wait_seconds", "Time that a write waited for its turn.", buckets=BUCKETS, registry=REGISTRY
)
CACHE_LOOKUPS = Counter(
    "tracker_cache_lookups", "Look-ups in a cache.", ["cache", "result"], registry=REGISTRY
)
"""`result` is `hit` or `miss`; a cache counts with `CACHE_LOOKUPS.labels("name", "hit").inc()`."""
CACHE_EVICTIONS = Counter("tracker_cache_evictions", "Answers dropped for want of room.", registry=REGISTRY)

LEDGER_HEAD = Gauge(
    "tracker_ledger_head_seq", "Newest entry of the ledger.", registry=REGISTRY, multiprocess_mode="max"
)
CONNECTIONS = Gauge(
    "tracker_database_connections",
    "Connections to the database in use.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
CLIENTS = Gauge(
    "tracker_connections", "Connections of clients.", registry=REGISTRY, multiprocess_mode="livesum"
)
FOLLOWERS = Gauge(
    "tracker_followers", "Clients that follow the ledger.", registry=REGISTRY, multiprocess_mode="livesum"
)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answer; `route` is the template, so that there are not more series than routes."""
    method = method if method in METHODS else "other"
    REQUESTS.labels(method, route, str(status)).inc()
    REQUEST_SECONDS.labels(method, route).observe(seconds)


def exposition() -> bytes:
    """Return every figure in Prometheus's text format."""
    registry = CollectorRegistry()
    folder = os.environ.get(FOLDER)
    if folder is None:
        ProcessCollector(registry=registry)
        return generate_latest(REGISTRY) + generate_latest(registry)
    for path in Path(folder).glob("gauge_live*.db"):
        found = re.search(r"_([0-9]+)\.db$", path.name)
        if found is not None and not _is_running(int(found[1])):
            # It was killed, and has left what it had in use behind.
            mark_process_dead(int(found[1]), folder)  # type: ignore[no-untyped-call]
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
