"""Both clients against the real app: the asynchronous one in this process, the synchronous one through a socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from client_contract import Clock
from client_serving import serving
from fakes import FakeModel, make_tagger, running, until

from onoma.client import (
    AsyncClient,
    BadRequest,
    Client,
    ConnectionFailed,
    DeadlineExceeded,
    Overloaded,
    Result,
    Retries,
    ServerFailed,
    Timing,
    Unauthorized,
)
from service.app import create_app
from service.settings import Settings

TEXT = "👍🏽 Angela Merkel visited Siemens in München."
FOUND = [("PER", "Angela Merkel"), ("ORG", "Siemens"), ("LOC", "München")]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where the real app listens, with a student and a teacher."""
    taggers = {"student": make_tagger(FakeModel()), "teacher": make_tagger(FakeModel(sure=True))}
    with serving(create_app(Settings(max_texts=50, max_total_chars=5000), models=taggers)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, texts_per_request=40, chars_per_request=2000) as client:
        yield client


@pytest.mark.parametrize(
    ("unit", "encoding", "width"), [("codepoint", "utf-32-le", 4), ("utf16", "utf-16-le", 2), ("utf8", "utf-8", 1)]
)
def test_offsets(client: Client, unit: str, encoding: str, width: int) -> None:
    result = client.tag(TEXT, offset_unit=unit)
    assert [(one.label, one.text) for one in result.entities] == FOUND
    assert (result.model, result.fallback, result.declined) == ("student", None, None)
    units = TEXT.encode(encoding)
    for one in result.entities:
        assert units[one.start * width : one.end * width].decode(encoding) == one.text and 0.9 < one.score <= 1


def test_many_texts(client: Client) -> None:
    texts = [("Ohio " * (number % 7)).strip() for number in range(333)]
    assert [len(result.entities) for result in client.tag_batch(texts)] == [number % 7 for number in range(333)]


def test_tokens_filters_and_models(client: Client) -> None:
    tokens = [["Yes", "Angela", "Merkel", "in", "München"], [], ["Siemens"]]
    found = [[(one.start, one.end) for one in result.entities] for result in client.tag_tokens(tokens)]
    assert found == [[(1, 3), (4, 5)], [], [(0, 1)]]
    [result] = client.tag_batch([TEXT], model="teacher", labels=["PER"], min_score=0.5)
    assert result.model == "teacher" and [one.label for one in result.entities] == ["PER"]
    assert client.tag("maybe").fallback == "low_confidence"


def test_health(client: Client) -> None:
    assert client.alive() and client.ready()


def test_streams(client: Client) -> None:
    texts = [f"{'Ohio ' * (number % 7)}and {number}" for number in range(333)]
    results = list(client.stream(texts, offset_unit="utf16", labels=["LOC", "PER"], min_score=0.5, model="student"))
    assert results == client.tag_batch(texts, labels=["LOC", "PER"], min_score=0.5, model="student")
    assert [len(result.entities) for result in results] == [number % 7 for number in range(333)]
    answers = list(client.stream(["Ohio", "a" * 1_000_001, "Siemens"], on_error="yield"))
    assert [type(answer) for answer in answers] == [Result, BadRequest, Result]
    with pytest.raises(BadRequest, match="unknown_label"):
        list(client.stream(["Ohio"], labels=["DOG"]))


def test_models(client: Client) -> None:
    assert {model.name for model in client.models()} == {"student", "teacher"}


def test_the_apps_errors(client: Client, url: str) -> None:
    with pytest.raises(BadRequest) as caught:
        client.tag(TEXT, labels=["DOG"])
    assert (caught.value.status, caught.value.code) == (422, "unknown_label") and len(caught.value.request_id) == 32
    with pytest.raises(BadRequest, match="limit_exceeded"):
        client.tag("a" * 6000)
    with pytest.raises(ServerFailed, match="inference_failed") as failed, Client(url, retries=0) as once:
        once.tag("boom", model="student")
    assert failed.value.status == 500
    with pytest.raises(BadRequest, match="not_found"), Client(url + "/elsewhere") as astray:
        astray.tag(TEXT)


def test_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("a-long-enough-key-for-anyone-1234\n", encoding="utf-8")
    app = create_app(Settings(api_keys_file=keys), models={"student": make_tagger()})
    with serving(app) as url:
        with Client(url, api_key="a-long-enough-key-for-anyone-1234") as known:
            assert len(known.tag(TEXT).entities) == 3
        for key in (None, "another"):
            with Client(url, api_key=key) as unknown, pytest.raises(Unauthorized) as caught:
                unknown.tag(TEXT)
            assert (caught.value.status, caught.value.code) == (401, "unauthorized")


def test_threads_share_a_client(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        counts = pool.map(lambda number: len(client.tag("Ohio " * number).entities), range(40))
        assert list(counts) == list(range(40))


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        with Client(address, retries=Retries(times=2, base_seconds=0.01)) as client:
            assert client.alive() is False and client.ready() is False
            with pytest.raises(ConnectionFailed, match=f"no answer from {address}: ConnectError") as caught:
                client.tag(TEXT)
    assert caught.value.__notes__[0].startswith("sent 3 times")


def test_a_server_that_goes_away_and_comes_back() -> None:
    """Kept connections of the old server fail, the new one answers."""
    taggers = {"student": make_tagger()}
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", retries=Retries(base_seconds=0.01)) as client:
        for _ in range(2):
            with serving(create_app(Settings(), models=taggers), port=port):
                assert len(client.tag(TEXT).entities) == 3


def test_overload_passes() -> None:
    """429 with Retry-After from the real app, until the queue is free again."""
    model = FakeModel()
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        model.gate.set()
        first.result(10)

    # With a worker thread, so that the model can be held up while the event loop goes on.
    app = create_app(Settings(max_in_flight=1, workers=1), models={"student": make_tagger(model)})
    with serving(app) as url, Client(url) as holder, ThreadPoolExecutor(1) as pool:
        model.gate.clear()
        model.entered.clear()
        first = pool.submit(holder.tag, "Ohio")
        assert model.entered.wait(10)
        with Client(url, retries=0) as hasty, pytest.raises(Overloaded) as caught:
            hasty.tag("Ohio")
        assert caught.value.retry_after is not None
        with Client(url, timing=Timing(sleep=sleep, random=lambda: 0.0)) as patient:
            assert patient.tag("Siemens").entities[0].label == "ORG"
        assert clock.sleeps == [caught.value.retry_after]


def test_async_client() -> None:
    async def ask() -> None:
        async with running(FakeModel(), max_texts=10) as (app, _):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with AsyncClient("http://onoma", transport=transport, texts_per_request=10) as client:
                assert await client.alive() and await client.ready()
                assert [(one.label, one.text) for one in (await client.tag(TEXT)).entities] == FOUND
                results = await client.tag_batch(["Ohio " * number for number in range(55)])
                assert [len(result.entities) for result in results] == list(range(55))
                [given] = await client.tag_tokens([["in", "Ohio"]])
                assert [(one.start, one.end) for one in given.entities] == [(1, 2)]
                with pytest.raises(BadRequest, match="model_not_loaded"):
                    await client.tag(TEXT, model="teacher")

    asyncio.run(ask())


def test_async_requests_at_once() -> None:
    async def ask() -> None:
        model = FakeModel()
        async with running(model) as (app, _):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            client = AsyncClient("http://onoma", transport=transport, texts_per_request=1, requests_at_once=3)
            async with client:
                model.gate.clear()
                batch = asyncio.ensure_future(client.tag_batch(["Ohio"] * 12))
                await until(lambda: app.state.runtime.in_flight == 3)
                for _ in range(20):
                    await asyncio.sleep(0)
                assert app.state.runtime.in_flight == 3
                model.gate.set()
                assert len(await batch) == 12

    asyncio.run(ask())


def test_async_cancelling_reaches_the_server() -> None:
    async def ask() -> None:
        model = FakeModel()
        async with running(model) as (app, _):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with AsyncClient("http://onoma", transport=transport, texts_per_request=1) as client:
                model.gate.clear()
                batch = asyncio.ensure_future(client.tag_batch(["Ohio"] * 12))
                await until(lambda: app.state.runtime.in_flight == 4)
                batch.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await batch
                await until(lambda: app.state.runtime.in_flight == 0)

    asyncio.run(ask())


def test_the_servers_deadline() -> None:
    async def ask() -> None:
        model = FakeModel()
        async with running(model, deadline_seconds=0.05) as (app, _):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with AsyncClient("http://onoma", transport=transport, retries=Retries(base_seconds=0)) as client:
                model.gate.clear()
                with pytest.raises(DeadlineExceeded) as caught:
                    await client.tag("Ohio")
                assert caught.value.__notes__[0].startswith("sent 2 times")

    asyncio.run(ask())
