"""Everything that an operator may set, each setting documented beside its field."""

from typing import Annotated, Literal

from limits import parse
from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

OFF = "off"
"""What a limit is called that is not kept."""


def _rate(text: str) -> str:
    try:
        return text if text == OFF else str(parse(text)) and text
    except ValueError:
        raise ValueError(f"give a number and a span, for example 60/minute, or {OFF}") from None


Rate = Annotated[str, AfterValidator(_rate)]


class Settings(BaseSettings):
    """Settings are read from `TRACKER_…` environment variables, then from a `.env` file."""

    model_config = SettingsConfigDict(env_prefix="TRACKER_", env_file=".env", extra="ignore")

    database_url: str = "sqlite:///var/tracker.db"
    """Where the record is kept: a SQLite file, or `postgresql+psycopg://user:password@host/name`."""

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

    @field_validator("database_url")
    @classmethod
    def _is_one_of_ours(cls, url: str) -> str:
        try:
            backend = make_url(url).get_backend_name()
        except ArgumentError:
            backend = ""
        if backend not in ("sqlite", "postgresql", "postgres"):
            raise ValueError("give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
        return url
