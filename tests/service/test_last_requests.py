"""Requests that are on their way when the server stops."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from fakes import make_tagger
from sockets import listening

from service.app import create_app
from service.draining import DrainingServer
from service.settings import Settings

BODY = b'{"text": "Angela Merkel"}'
REQUEST = b"POST /ner HTTP/1.1\r\nhost: onoma\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


def answer(client: socket.socket) -> str:
    """All that comes until the server closes."""
    client.settimeout(10)
    data = b""
    while more := client.recv(65_536):
        data += more
    return data.decode()


def test_a_connection_that_waits_to_be_accepted_is_answered() -> None:
    async def stopped() -> str:
        server = DrainingServer(create_app(Settings(), models={"student": make_tagger()}))
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            serving = asyncio.create_task(server.serve([bound]))
            async with asyncio.timeout(30):
                while server.acceptor is None:
                    await asyncio.sleep(0.01)
            with socket.create_connection(bound.getsockname()) as client:
                client.sendall(REQUEST)
                # The loop has had no turn in which it could accept.
                await server.shutdown([bound])
                got = await asyncio.to_thread(answer, client)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        return got

    got = asyncio.run(stopped())
    assert got.startswith("HTTP/1.1 200") and "connection: close" in got.lower()


def test_a_new_connection_may_still_send_its_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.corking.FIRST_SECONDS", 10.0)
    app = create_app(Settings(), models={"student": make_tagger()})
    with listening(app) as (port, server), socket.create_connection(("127.0.0.1", port)) as client:
        until = time.monotonic() + 10
        while not server.server_state.connections:
            assert time.monotonic() < until
            time.sleep(0.005)
        server.should_exit = True
        with pytest.raises(ConnectionRefusedError):
            while time.monotonic() < until:
                socket.create_connection(("127.0.0.1", port)).close()
                time.sleep(0.005)
        client.sendall(REQUEST)
        got = answer(client)
    assert got.startswith("HTTP/1.1 200") and "connection: close" in got.lower()
