"""How a tracker is called over HTTP: problems as exceptions, retries that wait, answers revalidated."""

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime

import httpx
from pydantic import ValidationError

from app.errors import Problem, ProblemError
from app.fields import MIN_SEQ

Parameters = Sequence[tuple[str, str]]

WORTH_RETRYING = (429, 502, 503, 504)
"""Statuses that say: not now."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 120.0
"""A server that asks for a longer wait is taken at its word: the caller is told instead."""
MOST_KEPT = 100
MOST_BYTES = 16 * 1024 * 1024
"""How much is kept to be revalidated: so many answers, and so many bytes of them."""

pause: Callable[[float], None] = time.sleep
"""How waiting is done; tests set it."""


class TrackerFailure(Exception):
    """Base of all that a call can end with: catch this one to catch them all."""


class TrackerUnreachable(TrackerFailure):
    """No answer came, though it was asked for several times."""


class TrackerProblem(TrackerFailure):
    """The tracker answered with a problem (RFC 9457).

    `code` is stable and made to be compared: `duplicate`, `not-found`, `invalid` … `errors` names
    each fault of a request, `existing` and `replaced_by` link to the entry that is in the way.
    """

    def __init__(self, problem: Problem, *, retry_after: float | None = None) -> None:
        super().__init__(problem.title)
        self.type = problem.type
        self.title = problem.title
        self.status = problem.status
        self.detail = problem.detail
        self.instance = problem.instance
        self.errors: list[ProblemError] = problem.errors or []
        self.existing = problem.existing
        self.replaced_by = problem.replaced_by
        self.retry_after = retry_after

    @property
    def code(self) -> str:
        """Stable word for what went wrong: the last part of `type`."""
        return self.type.rpartition("/")[2]

    def __str__(self) -> str:
        text = f"{self.title} ({self.status} {self.code})"
        if self.detail:
            text += f": {self.detail}"
        for fault in self.errors:
            place = fault.parameter or fault.pointer or "the body"
            row = "" if fault.row is None else f"row {fault.row}, "
            text += f"\n  {row}{place}: {fault.message}"
        link = self.existing or self.replaced_by
        return f"{text} See {link}." if link else text


def problem_of(response: httpx.Response) -> TrackerProblem:
    """Return the exception for an error answer, also for one that is no problem document.

    A proxy in front answers in its own words: then the type is `about:blank`.
    """
    wait = retry_after(response)
    try:
        return TrackerProblem(Problem.model_validate_json(response.content), retry_after=wait)
    except ValidationError:
        title = response.reason_phrase or "No reason given"
        if response.is_redirect:
            title = f"The tracker is elsewhere: {response.headers.get('location', 'it does not say where')}"
        return TrackerProblem(
            Problem(type="about:blank", title=title, status=response.status_code), retry_after=wait
        )


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that a server asks to wait (RFC 9110, section 10.2.3), or None."""
    given = response.headers.get("retry-after", "")
    if given.isascii() and given.isdigit():
        return float(given[:9])
    try:
        instant = parsedate_to_datetime(given)
    except ValueError:
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0.0, (instant - datetime.now(UTC)).total_seconds())


def backoff(failures: int, asked: float | None = None) -> float:
    """Return the seconds to wait after so many failures in a row, from 1: random, so that clients part.

    Never less than the server has `asked` for.
    """
    most = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
    return (asked or 0.0) + random.uniform(0, most)


def parameters_of(filters: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return keyword arguments as query parameters, as the API spells them.

    None is left out, a list is repeated, a `_` at the end of a name falls off (`from_` is `from`).
    """
    found = []
    for name, value in filters.items():
        many = value if isinstance(value, list | tuple | set | frozenset) else [value]
        spelt = [(name.removesuffix("_"), _spelt(each)) for each in many if each is not None]
        found += sorted(spelt) if isinstance(value, set | frozenset) else spelt
    return found


def _spelt(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("Give an instant with its time zone, as in datetime(2025, 3, 27, tzinfo=UTC).")
    return value.isoformat() if isinstance(value, date) else str(value)


class Kept:
    """Answers kept to be revalidated; the least recently used are let go."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, httpx.Response] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, url: str) -> httpx.Response | None:
        """Return the answer kept for `url`, or None."""
        with self._lock:
            if url in self._answers:
                self._answers.move_to_end(url)
            return self._answers.get(url)

    def keep(self, url: str, response: httpx.Response) -> None:
        """Keep an answer that has a validator and may be kept."""
        control = response.headers.get("cache-control", "")
        size = len(response.content)
        if "etag" not in response.headers or "no-store" in control or size > MOST_BYTES // 4:
            return
        with self._lock:
            former = self._answers.pop(url, None)
            self._bytes += size - (len(former.content) if former else 0)
            self._answers[url] = response
            while len(self._answers) > MOST_KEPT or self._bytes > MOST_BYTES:
                self._bytes -= len(self._answers.popitem(last=False)[1].content)


class Caller:
    """Calls one tracker, patiently; the rest of the client sees only good answers."""

    def __init__(self, http: httpx.Client, tries: int) -> None:
        self._http = http
        self._tries = tries
        self._kept = Kept()
        self._seen = 0
        self._lock = threading.Lock()

    def note(self, seq: int) -> None:
        """Note that an entry was seen: from now on no answer comes from a state without it."""
        with self._lock:
            self._seen = max(self._seen, seq)

    def get(self, path: str, parameters: Parameters = ()) -> httpx.Response:
        """Return the answer to a GET, revalidated where one is kept; a pinned one is not asked again.

        Raises `TrackerProblem` or `TrackerUnreachable`.
        """
        request = self._http.build_request("GET", path, params=list(parameters))
        url = str(request.url)
        kept = self._kept.find(url)
        if kept is not None:
            if "immutable" in kept.headers.get("cache-control", ""):
                return kept
            request.headers["If-None-Match"] = kept.headers["etag"]
        response = self._patiently(request)
        if response.status_code == 304 and kept is not None:
            return kept
        self._kept.keep(url, response)
        return response

    def post(
        self, path: str, body: object, *, key: str | None, idempotency_key: str, parameters: Parameters = ()
    ) -> httpx.Response:
        """Return the answer to a POST; its `Idempotency-Key` makes it safe to be sent again."""
        headers = {"Idempotency-Key": idempotency_key}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        request = self._http.build_request("POST", path, params=list(parameters), json=body, headers=headers)
        return self._patiently(request)

    @contextmanager
    def streamed(
        self,
        path: str,
        parameters: Parameters = (),
        headers: Mapping[str, str] | None = None,
        *,
        tries: int | None = None,
        silence: float | None = None,
    ) -> Iterator[httpx.Response]:
        """Give the answer to a GET while it arrives; it is asked for again only until it begins.

        `silence` is for how many seconds nothing may arrive, where that differs from the timeout.
        """
        request = self._http.build_request("GET", path, params=list(parameters), headers=dict(headers or {}))
        if silence is not None:
            request.extensions["timeout"]["read"] = silence
        response = self._patiently(request, tries=tries, stream=True)
        try:
            yield response
        except httpx.RequestError as error:
            raise self._unreachable(error) from error
        finally:
            response.close()

    def _patiently(
        self, request: httpx.Request, *, tries: int | None = None, stream: bool = False
    ) -> httpx.Response:
        failures = 0
        while True:
            failures += 1
            if self._seen:
                request.headers[MIN_SEQ] = str(self._seen)
            is_last = failures >= (self._tries if tries is None else tries)
            asked = None
            try:
                response = self._http.send(request, stream=stream)
                if response.is_success or response.status_code == 304:
                    state = response.headers.get("ledger-seq", "")
                    self.note(int(state) if state.isascii() and state.isdigit() else 0)
                    return response
                response.read()
            except httpx.RequestError as error:
                if is_last or isinstance(error, httpx.UnsupportedProtocol):
                    raise self._unreachable(error) from error
            else:
                problem = problem_of(response)
                asked = problem.retry_after
                is_for_now = response.status_code not in WORTH_RETRYING
                if is_last or is_for_now or (asked or 0) > LONGEST_RETRY_AFTER:
                    raise problem
            self.wait(failures, asked)

    def wait(self, failures: int, asked: float | None = None) -> None:
        """Wait as long as so many failures in a row and the server's own wish make it polite."""
        pause(backoff(failures, asked))

    def _unreachable(self, error: Exception) -> TrackerUnreachable:
        why = str(error).rstrip(".") or type(error).__name__
        return TrackerUnreachable(f"No answer from {str(self._http.base_url).rstrip('/')}: {why}.")


def events(chunks: Iterator[bytes]) -> Iterator[dict[str, str]]:
    """Yield server-sent events by their fields (WHATWG HTML, section 9.2); a broken-off one is dropped.

    A field given on several lines is joined by line feeds. `retry` may come alone.
    """
    held = b""
    event: dict[str, str] = {}
    for chunk in chunks:
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.decode().rstrip("\r").partition(":")
            if name:
                value = value.removeprefix(" ")
                event[name] = f"{event[name]}\n{value}" if name in event else value
            elif not line.rstrip(b"\r"):
                if event:
                    yield event
                event = {}
