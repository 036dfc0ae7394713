"""Checks before the routes: who may ask, how much and how long they may send, what a browser may do with the page.

A plain ASGI middleware. The body of a request is read whole, within a limit of bytes and seconds, once the request has
a place in the queue; one that is refused is read to its end first and thrown away, for a client that is still sending
would not read the answer.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tc_common.files import printable
from web.turns import BusyError, Turns
from web.uploads import LARGEST_BATCH, LARGEST_CRYSTAL

OVERHEAD = 100_000
"""Bytes of a form around its files: for each a boundary, a name and a type."""
MOST_DRAINED = 2 * LARGEST_BATCH
LONGEST_UPLOAD_S = 30.0
BATCH = "/api/batch"
LOCAL = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True)
class Refusal(Exception):
    """A request that is answered without its route.

    Args:
        status: HTTP status.
        text: one sentence.
        headers: further ones.
    """

    status: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class Disconnect(Exception):
    """The client has gone."""


class Guard:
    """The middleware.

    Args:
        hosts: names under which the page is served; a request for another one is refused (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, turns: Turns, hosts: tuple[str, ...], longest_upload_s: float = LONGEST_UPLOAD_S
    ) -> None:
        self.app, self.turns = app, turns
        self.hosts = frozenset(host.lower() for host in (*LOCAL, *hosts))
        self.longest_upload_s = longest_upload_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        try:
            await self._answer(scope, receive, send_with_headers)
        except Refusal as refusal:
            await self._drain(receive)
            response = JSONResponse({"error": refusal.text}, refusal.status, dict(refusal.headers))
            await response(scope, receive, send_with_headers)
        except Disconnect:
            return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_host(headers)
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        most = LARGEST_BATCH if scope["path"] == BATCH else LARGEST_CRYSTAL
        try:
            with self.turns.place():
                body = await self._body(receive, most, headers.get("content-length", ""))
                await self.app(scope, _replay(body, receive), send)
        except BusyError as error:
            raise Refusal(429, str(error), (("retry-after", str(error.retry_after_s)),)) from error

    def _check_host(self, headers: dict[str, str]) -> None:
        """Refuse names that are not this page's, and other pages' requests from a browser."""
        host = _hostname(f"//{headers.get('host', '')}")
        if host not in self.hosts:
            raise Refusal(421, f"not served under the name {printable(host)[:60]!r}; start the page with --allow-host")
        origin = headers.get("origin")
        if origin is not None and _hostname(origin) not in self.hosts:
            raise Refusal(403, "a request from another page; open this one")

    async def _body(self, receive: Receive, most: int, declared: str) -> bytes:
        """The whole body.

        Raises:
            Refusal: it is too large or comes too slowly.
            Disconnect: the client went before its end.
        """
        too_large = Refusal(413, f"more than {most / 1e6:g} MB; send less")
        if declared.isdecimal() and int(declared) > most + OVERHEAD:
            raise too_large
        try:
            return await asyncio.wait_for(_read(receive, most + OVERHEAD, too_large), self.longest_upload_s)
        except TimeoutError as error:
            raise Refusal(408, f"not sent within {self.longest_upload_s:g} s; send less") from error

    async def _drain(self, receive: Receive) -> None:
        """Read what is still being sent, up to limits of its own."""
        try:
            await asyncio.wait_for(_discard(receive), 1.0)
        except (TimeoutError, Disconnect):
            return


async def _read(receive: Receive, most: int, too_large: Refusal) -> bytes:
    body = bytearray()
    async for part in _parts(receive):
        body += part
        if len(body) > most:
            raise too_large
    return bytes(body)


async def _discard(receive: Receive) -> None:
    seen = 0
    async for part in _parts(receive):
        seen += len(part)
        if seen > MOST_DRAINED:
            return


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    """Parts of a body as they come."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnect
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A body that was read, then whatever else comes (the end of the connection)."""
    parts = [body]

    async def again() -> Message:
        if parts:
            return {"type": "http.request", "body": parts.pop(), "more_body": False}
        return await receive()

    return again


def _hostname(url: str) -> str:
    """Host of a URL without its port; empty where it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
