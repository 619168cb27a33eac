"""Everything that an operator may set, each setting documented beside its field."""

import re
from ipaddress import ip_network
from typing import Annotated, Literal

from limits import parse
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

OFF = "off"
"""What a limit is called that is not kept."""


def _rate(text: str) -> str:
    try:
        return text if text == OFF else str(parse(text)) and text
    except ValueError:
        raise ValueError(f"give a number and a span, for example 60/minute, or {OFF}") from None


Rate = Annotated[str, AfterValidator(_rate)]


POSTGRESQL = ("postgresql", "postgres")


class Settings(BaseSettings):
    """Settings are read from `TRACKER_…` environment variables, then from a `.env` file."""

    model_config = SettingsConfigDict(env_prefix="TRACKER_", env_file=".env", extra="ignore")

    database_url: str = "sqlite:///var/tracker.db"
    """Where the record is kept: a SQLite file, or `postgresql+psycopg://user:password@host/name`."""

    read_database_url: str | None = None
    """Replicas of that database, for reads: `postgresql://user@one,two/name`. Default: none."""

    public_url: str | None = None
    """Address under which clients reach the API, for `next` links. Default: that of the request."""

    stale_after_days: int = Field(default=180, ge=1)
    """A position last affirmed more than this many days before `as_of` is marked stale."""

    write_wait_seconds: float = Field(default=15.0, gt=0)
    """How long a write waits for the write lock before it is answered with 503 `busy`."""

    body_limit_bytes: int = Field(default=1_048_576, ge=1024)
    """Largest request body (1 MiB); a larger one is answered with 413 `too-large`."""

    bulk_limit_bytes: int = Field(default=33_554_432, ge=1024)
    """Largest body of a bulk request (32 MiB)."""

    write_limit: Rate = "60000/minute"
    """How often one API key may write, in each process: `60/minute`, `5/second` …, or `off`."""

    failed_auth_limit: Rate = "30000/minute"
    """How often one address may send a key that is no good, in each process, or `off`."""

    connection_limit: int = Field(default=1000, ge=10)
    """How many connections a process keeps; who comes beyond that is answered with 503 `busy`."""

    cache_bytes: int = Field(default=67_108_864, ge=0)
    """How much memory answers are kept in, in each process (64 MiB); 0 keeps none."""

    client_wait_seconds: float = Field(default=60.0, gt=0)
    """How long a client may take to send a request's head, and then its body."""

    stop_wait_seconds: int = Field(default=10, ge=1)
    """How long a server that is told to stop waits for requests that are running."""

    trusted_proxies: str = ""
    """Addresses or networks, comma-separated, whose `X-Forwarded-For` and `-Proto` are believed."""

    log_format: Literal["text", "json"] = "text"
    """How the server logs: lines for people, or one JSON object for each event."""

    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """From which level on it logs; each answer is an event of the level `info`."""

    read_only: bool = False
    """Answer reads, and every write with 503 `read-only`: for maintenance, and on a standby."""

    @field_validator("public_url")
    @classmethod
    def _is_web_address(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
            raise ValueError("give an address as in https://tracker.example, without a query")
        return url

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, text: str) -> str:
        for each in filter(None, map(str.strip, text.split(","))):
            try:
                ip_network(each)
            except ValueError as error:
                raise ValueError(f"give addresses or networks, as in 10.0.0.5,10.1.0.0/16: {error}") from None
        return text

    @field_validator("database_url")
    @classmethod
    def _is_one_of_ours(cls, url: str) -> str:
        if _backend(url) not in ("sqlite", *POSTGRESQL):
            raise ValueError("give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
        return url

    @field_validator("read_database_url")
    @classmethod
    def _is_replicated(cls, url: str | None) -> str | None:
        if url is not None and _backend(url) not in POSTGRESQL:
            raise ValueError("give postgresql://USER:PASSWORD@HOST/NAME; a SQLite file has no replicas")
        return url


def _backend(url: str) -> str:
    try:
        return address(url).get_backend_name()
    except ArgumentError:
        return ""


def address(url: str) -> URL:
    """Return where a database is; raise ArgumentError for what names none.

    A bare `postgresql://` means the driver that we ship. Several hosts, each with its port, are
    given as libpq takes them: `postgresql://user@one:5432,two:5433/name`.
    """
    scheme, _, rest = url.partition("://")
    kind = scheme.partition("+")[0]
    if kind in POSTGRESQL and "," in rest.partition("/")[0]:
        try:
            found = conninfo_to_dict(f"postgresql://{rest}")
        except ProgrammingError as error:
            raise ArgumentError(str(error)) from None
        given = {name: str(value) for name, value in found.items() if value is not None}
        user, password, name = (given.pop(part, None) for part in ("user", "password", "dbname"))
        return URL.create("postgresql+psycopg", user, password, database=name, query=given)
    try:
        made = make_url(url)
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    return made.set(drivername="postgresql+psycopg") if made.drivername in POSTGRESQL else made
