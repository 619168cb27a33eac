"""How often a client may write, or fail to say who it is: counted by the process that answers.

The counts are not shared between processes. They guard what one process can do, and there is more
of that with each process; a count that all share would be a write to the database for each request,
which anybody could cause who has no key.
"""

import time
from ipaddress import ip_address
from math import ceil

from fastapi import Request
from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from app.errors import RateLimited
from app.settings import OFF, Settings


class Limit:
    """One limit, counted for each client apart."""

    def __init__(self, name: str, rate: str) -> None:
        self.name = name
        self._rate = None if rate == OFF else parse(rate)
        self._counts = FixedWindowRateLimiter(MemoryStorage())

    async def count(self, request: Request, client: str) -> None:
        """Count a request of `client`; raise `RateLimited` when it was one too many.

        The answer tells what is left, in the fields of draft-ietf-httpapi-ratelimit-headers-10.
        """
        if self._rate is None:
            return
        is_allowed = await self._counts.hit(self._rate, client)
        ends_at, left = await self._counts.get_window_stats(self._rate, client)
        wait = max(1, ceil(ends_at - time.time()))
        request.state.more_headers = {
            "RateLimit-Policy": f'"{self.name}";q={self._rate.amount};w={self._rate.get_expiry()}',
            "RateLimit": f'"{self.name}";r={left};t={wait}',
        }
        if not is_allowed:
            raise RateLimited(headers={"Retry-After": str(wait)})


class Limits:
    """The limits of one application."""

    def __init__(self, settings: Settings) -> None:
        self.writes = Limit("writes", settings.write_limit)
        self.failures = Limit("failed-auth", settings.failed_auth_limit)


def address_of(request: Request) -> str:
    """Return whose address a request comes from; of IPv6 the network, which is what one client has."""
    host = request.client.host if request.client else "-"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(int(address) >> 64)
