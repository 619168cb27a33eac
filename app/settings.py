"""Everything that an operator may set, each setting documented beside its field."""

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError


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
