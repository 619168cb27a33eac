"""What is counted and measured for `GET /metrics`: every figure is declared here, and shared by the process.

With `PROMETHEUS_MULTIPROC_DIR` set, as `serve --workers` does, the figures of all processes of the
server are added up, whichever of them is asked.
"""

import os
import re
import threading
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector

REGISTRY = CollectorRegistry()
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
TOLD_AFTER = 1.0
"""Seconds after which other processes see an answer from memory counted."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class Seconds(Histogram):
    """A histogram that takes many short times at once."""

    def observe_short(self, count: int, seconds: float) -> None:
        """Observe `count` times that are all within the first bucket and come to `seconds` together."""
        self._sum.inc(seconds)
        self._buckets[0].inc(count)


REQUESTS = Counter("tracker_requests", "Requests answered.", ["method", "route", "status"], registry=REGISTRY)
REQUEST_SECONDS = Seconds(
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
    answered, took = _series(method if method in METHODS else "other", route, status)
    answered.inc()
    took.observe(seconds)


@cache
def _series(method: str, route: str, status: int) -> tuple[Counter, Seconds]:
    """Return what counts such answers, and how long they took."""
    return REQUESTS.labels(method, route, str(status)), REQUEST_SECONDS.labels(method, route)


class _Short:
    """Answers from memory to one method at one route with one status, none of which took long.

    They are added up, and told to Prometheus's own counters now and then: those would take as long
    as the answer.
    """

    def __init__(self, method: str, route: str, status: int) -> None:
        self.count, self.seconds = 0, 0.0
        self._told = (0, 0.0)
        self._answered, self._took = _series(method, route, status)

    def tell(self) -> None:
        """Count all that came since this was last told."""
        count, seconds = self.count, self.seconds
        more, longer = count - self._told[0], seconds - self._told[1]
        self._told = count, seconds
        if more:
            _HITS.inc(more)
            self._answered.inc(more)
            self._took.observe_short(more, longer)


_HITS = CACHE_LOOKUPS.labels("answers", "hit")
_short: dict[tuple[str, str, int], _Short] = {}
_telling = threading.Lock()


def count_hit(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answer from memory; `exposition` shows it at once, to other processes after a second."""
    if seconds > BUCKETS[0]:
        _HITS.inc()
        count_request(method, route, status, seconds)
        return
    key = (method, route, status)
    short = _short.get(key)
    if short is None:
        short = _short[key] = _Short(*key)
    short.count += 1
    short.seconds += seconds


def tell_hits() -> None:
    """Add the answers from memory to what is counted."""
    with _telling:
        for short in list(_short.values()):
            short.tell()


def exposition() -> bytes:
    """Return every figure in Prometheus's text format."""
    tell_hits()
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
