"""The least that a server can be: it sends bytes from memory (pure ASGI). The ceiling of what is measured."""

import json
import os
from pathlib import Path

from starlette.types import Receive, Scope, Send

KEPT: dict[tuple[str, str, bool], tuple[int, bytes]] = {}
for described in Path(os.environ["BENCH_ANSWERS"]).glob("*.json"):
    method, path, is_conditional, status = json.loads(described.read_text())
    KEPT[method, path, is_conditional] = status, described.with_suffix(".body").read_bytes()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what was kept, once the body is there; anything else is not found."""
    if scope["type"] != "http":
        return
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    query = scope["query_string"].decode()
    path = f"{scope['path']}?{query}" if query else scope["path"]
    is_conditional = any(name == b"if-none-match" for name, _ in scope["headers"])
    status, body = KEPT.get((scope["method"], path, is_conditional), (404, b""))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
