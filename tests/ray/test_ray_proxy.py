"""What Ray's proxies answer themselves has the service's form; what the service answers passes as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
from fakes import FakeModel, make_tagger
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app import create_app
from service.ray_proxy import ERRORS, OurForm, middlewares
from service.settings import Settings


def as_ray_does(app: ASGIApp) -> ASGIApp:
    """As Ray's proxies put it around an application: a header of its own at the end of each answer."""

    async def with_request_id(scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(b"x-request-id", b"of-ray")

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"X-Request-ID", given)]
            await send(message)

        await app(scope, receive, send_more)

    outer: ASGIApp = with_request_id
    for one in middlewares():
        outer = one.cls(outer, *one.args, **one.kwargs)
    return outer


def ask(app: ASGIApp, path: str = "/ner", *, headers: Mapping[str, str] | None = None) -> httpx.Response:
    async def scenario() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=as_ray_does(app)), base_url="http://ray") as one:
            return await one.post(path, json={"text": "Siemens"}, headers=headers)

    return asyncio.run(scenario())


@pytest.mark.parametrize(("status", "error"), ERRORS.items(), ids=map(str, ERRORS))
def test_errors_of_the_proxy(status: int, error: Exception) -> None:
    answer = ask(PlainTextResponse("Deployment is unavailable", status_code=status), headers={"x-request-id": "mine"})
    kind = ERRORS[status]
    assert answer.status_code == kind.status
    assert answer.json()["error"] == {"code": kind.code, "message": kind.message, "request_id": "mine"}
    assert answer.headers.get_list("x-request-id") == ["mine"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def test_errors_under_v2_have_the_form_of_its_protocol() -> None:
    answer = ask(PlainTextResponse("no", status_code=503), "/v2/models/student/infer")
    assert set(answer.json()) == {"error"} and isinstance(answer.json()["error"], str)


def test_a_replica_that_died_says_nothing() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    answer = ask(silent)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "not_ready"


def test_the_endpoints_of_ray_are_its_own() -> None:
    answer = ask(PlainTextResponse("unhealthy", status_code=503), "/-/healthz")
    assert (answer.status_code, answer.text) == (503, "unhealthy")


@pytest.mark.parametrize("given", ["trace-1.a:b", "a b", None])
def test_answers_of_the_service_pass_and_have_one_request_id(given: str | None) -> None:
    async def scenario() -> None:
        app = create_app(Settings(), models={"student": make_tagger(FakeModel())})
        transport = httpx.ASGITransport(app=as_ray_does(app))
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://r") as one:
            for body, status in (({"text": "Siemens"}, 200), ({}, 422)):
                answer = await one.post("/ner", json=body, headers={} if given is None else {"x-request-id": given})
                assert answer.status_code == status
                said = answer.json().get("request_id") or answer.json()["error"]["request_id"]
                assert answer.headers.get_list("x-request-id") == [said]
                assert said == given if given == "trace-1.a:b" else said not in ("of-ray", given)

    asyncio.run(scenario())


def test_a_stream_passes_piece_by_piece() -> None:
    pieces: list[bytes] = []

    async def lines() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d\n" % number

    async def scenario() -> None:
        async def send(message: Message) -> None:
            if message["type"] == "http.response.body" and message["body"]:
                pieces.append(message["body"])

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        streamed = StreamingResponse(lines(), headers={"x-content-type-options": "nosniff"})
        asgi = {"version": "3.0", "spec_version": "2.4"}  # in older ones Starlette waits for a disconnection, too
        scope = {"type": "http", "path": "/ner/stream", "method": "POST", "headers": [], "asgi": asgi}
        await OurForm(streamed)(scope, receive, send)

    asyncio.run(scenario())
    assert pieces == [b"0\n", b"1\n", b"2\n"]


def test_what_is_not_http_passes() -> None:
    seen: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    asyncio.run(OurForm(inner)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]
