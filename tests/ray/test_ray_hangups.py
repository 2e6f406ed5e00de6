"""A cancelled task becomes a client that has gone: counted as one, and worked for no longer."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fakes import FakeModel, make_tagger, until
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from service.app import create_app
from service.ray_hangups import Hangups
from service.settings import Settings


def value(app: FastAPI, name: str, **labels: str) -> float:
    return app.state.runtime.metrics.registry.get_sample_value(name, labels) or 0.0


def request(path: str = "/ner") -> Scope:
    return {"type": "http", "path": path, "method": "POST", "headers": [], "query_string": b"", "http_version": "1.1"}


def test_a_request_that_is_cancelled() -> None:
    """It waits for the model, or for its body."""

    async def scenario(body: bytes | None) -> None:
        model = FakeModel()
        app = create_app(Settings(workers=1), models={"student": make_tagger(model)})
        messages: asyncio.Queue[Message] = asyncio.Queue()
        if body is not None:
            messages.put_nowait({"type": "http.request", "body": body, "more_body": False})

        async def send(_: Message) -> None:
            pass

        async with app.router.lifespan_context(app):
            model.entered.clear()
            model.gate.clear()
            asked = asyncio.create_task(Hangups(app)(request(), messages.get, send))
            await until(model.entered.is_set if body is not None else lambda: app.state.runtime.in_flight == 1)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert value(app, "onoma_request_seconds_count", endpoint="/ner", status="499") == 1
            assert value(app, "onoma_errors_total", code="client_disconnected") == 1
            assert app.state.runtime.in_flight == 0
            model.gate.set()

    asyncio.run(scenario(b'{"text": "Ohio"}'))
    asyncio.run(scenario(None))


def test_who_stays_gets_an_answer() -> None:
    async def scenario() -> None:
        app = create_app(Settings(), models={"student": make_tagger(FakeModel())})
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app=Hangups(app)), base_url="http://onoma") as client,
        ):
            assert (await client.post("/ner", json={"text": "Ohio"})).json()["results"][0]["entities"]
            assert (await client.post("/ner", content=b"{")).status_code == 400

    asyncio.run(scenario())


def test_an_answer_that_breaks_off_then_is_no_news() -> None:
    failed: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.disconnect"
        assert (await receive())["type"] == "http.disconnect"
        raise RuntimeError("broken off")

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        asked = asyncio.create_task(Hangups(app)(request(), never, None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(scenario())
    assert failed == []
