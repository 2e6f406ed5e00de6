"""Clients that hang up, as the app knows it from any server: by a message, not by the end of its task."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_END_SECONDS = 5.0
"""How long the app has to end a request of a client that has gone."""
_GONE: Message = {"type": "http.disconnect"}


class Hangups:
    """Ray Serve cancels a request whose client has gone; here the app is told instead, and so counts it as it should.

    :param app: sees `http.disconnect`, whatever it waits for from the client.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the app's life."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = _Client(receive)
        work = asyncio.ensure_future(self._app(scope, client.receive, send))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            client.hang_up()
            ended, _ = await asyncio.wait([work], timeout=_END_SECONDS)
            if ended and not work.cancelled():
                work.exception()  # looked at: an answer that broke off is no news when its client has gone
            work.cancel()
            raise


class _Client:
    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = asyncio.Event()

    def hang_up(self) -> None:
        self._gone.set()

    async def receive(self) -> Message:
        if self._gone.is_set():
            return _GONE
        message = asyncio.ensure_future(self._receive())
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait([message, gone], return_when=asyncio.FIRST_COMPLETED)
            return message.result() if message.done() else _GONE
        finally:
            message.cancel()
            gone.cancel()
