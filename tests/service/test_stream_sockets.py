"""Streams through uvicorn: both directions at once, and a connection that makes the client wait."""

from __future__ import annotations

import asyncio
import time

import pytest
from fakes import FakeModel, make_tagger, until
from fastapi import FastAPI
from sockets import Caller, listening

import service.streaming
from service.app import create_app
from service.settings import Settings


def make_app(**settings: object) -> FastAPI:
    return create_app(Settings(**{"workers": 1} | settings), models={"student": make_tagger(FakeModel())})


def test_answers_come_before_the_body_is_over() -> None:
    async def talk(port: int) -> None:
        caller = await Caller.call(port)
        head = await caller.head()
        assert head[0] == "HTTP/1.1 200 OK" and "transfer-encoding: chunked" in head
        for number in range(20):
            caller.say({"text": "Siemens", "id": number})
            [line] = await caller.chunk()
            assert line["id"] == number and line["entities"][0]["label"] == "ORG"
        caller.finish()
        assert await caller.rest() == []
        # The connection serves another request.
        caller.writer.write(b"GET /healthz HTTP/1.1\r\nhost: onoma\r\n\r\n")
        assert (await caller.head())[0] == "HTTP/1.1 200 OK"
        await caller.close()

    with listening(make_app()) as (port, _):
        asyncio.run(talk(port))


def test_a_client_may_wait_for_leave_to_send() -> None:
    async def talk(port: int) -> None:
        caller = await Caller.call(port, "expect: 100-continue")
        assert await caller.head() == ["HTTP/1.1 100 Continue"]
        assert (await caller.head())[0] == "HTTP/1.1 200 OK"
        caller.say("Ohio")
        caller.finish()
        assert len(await caller.rest()) == 1
        await caller.close()

    with listening(make_app()) as (port, _):
        asyncio.run(talk(port))


def test_the_connection_holds_back_a_client_that_does_not_read() -> None:
    """It gets no further than the buffers of both sides, and everything is answered when it reads."""
    line = {"text": "", "id": "x" * 20_000}  # much to send back, little to do

    async def talk(port: int) -> None:
        caller = await Caller.call(port)
        sent = 0
        held = False
        while not held and sent < 10_000:
            caller.say(*[line] * 20)
            sent += 20
            try:
                async with asyncio.timeout(0.5):
                    await caller.writer.drain()
            except TimeoutError:
                held = True
        assert held, "the server took all"
        caller.finish()
        await caller.head()
        assert [one["id"] for one in await caller.rest()] == [line["id"]] * sent
        await caller.close()

    with listening(make_app()) as (port, _):
        asyncio.run(talk(port))


def test_a_hang_up_is_noticed() -> None:
    app = make_app()

    async def talk(port: int) -> None:
        caller = await Caller.call(port)
        await caller.head()
        caller.say("Ohio")
        await caller.chunk()
        assert app.state.runtime.in_flight == 1
        await caller.close()
        await until(lambda: app.state.runtime.in_flight == 0)

    with listening(app) as (port, _):
        asyncio.run(talk(port))


def test_a_server_that_is_told_to_stop_ends_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.streaming, "_TICK_SECONDS", 0.02)

    async def talk(port: int, stop: object) -> None:
        caller = await Caller.call(port)
        await caller.head()
        caller.say("Ohio")
        await caller.chunk()
        stop.should_exit = True
        [last] = await caller.chunk()
        assert last["line"] == 2 and last["error"]["code"] == "not_ready"
        caller.say("Ohio")  # was on its way
        caller.finish()
        assert await caller.rest() == [] and await caller.reader.read() == b""
        await caller.close()

    with listening(make_app(shutdown_seconds=10)) as (port, server):
        began = time.monotonic()
        asyncio.run(talk(port, server))
    assert time.monotonic() - began < 5
