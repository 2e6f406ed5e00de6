"""Vectors and similarities: what both clients send, and what they make of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from client_contract import AnyClient, Clock, Contract, Make, failure, vector
from client_serving import serving
from fakes import FakeModel, FakeSentenceModel, make_embedder, make_tagger, running

from onoma.client import AsyncClient, BadRequest, Client, InvalidAnswer, InvalidText, Overloaded, Retries
from onoma.embedder import cosine
from service.app import create_app
from service.settings import Settings

METHODS: dict[str, list[Any]] = {"embed": ["Ohio"], "similarity": [("Ohio", "Siemens")]}


def test_vectors(client: AnyClient, contract: Contract) -> None:
    vectors = client.embed(["Angela", "", "東京"], model="mine")
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, np.array([vector("Angela"), vector(""), vector("東京")], np.float32))
    [request] = contract.requests
    assert (request.method, request.url) == ("POST", "http://onoma/embed")
    assert contract.bodies() == [{"texts": ["Angela", "", "東京"], "model": "mine"}]


def test_scores(client: AnyClient, contract: Contract) -> None:
    assert client.similarity([("Angela", "Angela"), ["ab", "c"]]) == [1.0, 2e-4]
    assert contract.bodies() == [{"pairs": [["Angela", "Angela"], ["ab", "c"]], "model": "encoder"}]
    assert contract.requests[0].url == "http://onoma/similarity"


def test_many_are_split_and_keep_their_order(make: Make, contract: Contract) -> None:
    client = make(texts_per_request=7, chars_per_request=100)
    texts = ["x" * (number % 23) for number in range(90)]
    assert np.array_equal(client.embed(iter(texts)), np.array([vector(text) for text in texts], np.float32))
    pairs = [(text, "y") for text in texts]
    assert client.similarity(iter(pairs)) == [len(text) / 1e4 for text in texts]
    sizes = [body.get("texts") or [text for pair in body["pairs"] for text in pair] for body in contract.bodies()]
    assert len(sizes) >= 26 and all(sum(map(len, one)) <= 100 and len(one) <= 14 for one in sizes)


def test_nothing(client: AnyClient, contract: Contract) -> None:
    assert client.similarity([]) == [] and not contract.requests
    assert client.embed([]).shape == (0, 2), "the server says how many numbers a vector has"


def test_arguments_that_make_no_sense(client: AnyClient, contract: Contract) -> None:
    with pytest.raises(TypeError, match="texts must be several strings, got one"):
        client.embed("Ohio")
    with pytest.raises(TypeError, match=r"pairs\[0\] must be several strings, got one"):
        client.similarity(["ab"])
    with pytest.raises(ValueError, match=r"pairs\[1\] must be two texts, got 3"):
        client.similarity([("a", "b"), ("a", "b", "c")])
    with pytest.raises(TypeError, match=r"pairs\[0\]\[1\] must be a string, got int"):
        client.similarity([("a", 1)])
    with pytest.raises(InvalidText, match=r"texts\[1\] has a NUL"):
        client.embed(["a", "\0"])
    with pytest.raises(InvalidText, match=r"pairs\[0\]\[1\] has a lone surrogate"):
        client.similarity([("a", "\ud800")])
    assert not contract.requests


@pytest.mark.parametrize("method", METHODS)
def test_retries(make: Make, contract: Contract, clock: Clock, method: str) -> None:
    client = make()
    contract.script.extend([failure(429, "overloaded", retry_after="2"), httpx.ConnectError("refused")])
    assert len(getattr(client, method)(METHODS[method])) == 1
    assert len(contract.requests) == 3 and clock.sleeps[0] >= 2
    assert len({request.headers["x-request-id"] for request in contract.requests}) == 1
    contract.script.extend([failure(429, "overloaded")] * 5)
    with pytest.raises(Overloaded) as caught:
        getattr(client, method)(METHODS[method])
    held = "texts" if method == "embed" else "pairs"
    assert f"the request held {held} 0 to 0" in caught.value.__notes__


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("embed", {}),
        ("embed", {"embeddings": [["0.5"]], "dimensions": 1}),
        ("embed", {"embeddings": [[0.5], [0.5]], "dimensions": 1}),
        ("embed", {"embeddings": [[0.5]], "dimensions": 2}),
        ("embed", {"embeddings": [], "dimensions": 2}),
        ("similarity", {}),
        ("similarity", {"scores": []}),
        ("similarity", {"scores": [0.5, 0.5]}),
        ("similarity", {"scores": [None]}),
    ],
)
def test_an_answer_that_is_not_the_services(make: Make, method: str, answer: dict[str, Any]) -> None:
    client = make(lambda _: httpx.Response(200, json=answer))
    with pytest.raises(InvalidAnswer, match=f"/{method} answered what the service does not"):
        getattr(client, method)(METHODS[method])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where the real app listens, with a sentence encoder."""
    models = {"student": make_tagger(FakeModel()), "encoder": make_embedder(FakeSentenceModel())}
    with serving(create_app(Settings(max_texts=50), models=models)) as address:
        yield address


def test_against_the_real_app(url: str) -> None:
    texts = [f"Angela {'Ohio ' * (number % 7)}" for number in range(120)]
    expected = make_embedder().embed(texts)
    with Client(url, texts_per_request=50) as client:
        assert np.array_equal(client.embed(texts), expected)
        pairs = list(zip(texts, texts[1:], strict=False))
        assert client.similarity(pairs) == pytest.approx(cosine(expected[:-1], expected[1:]), abs=1e-6)
        with pytest.raises(BadRequest, match="student finds entities") as caught:
            client.embed(["Ohio"], model="student")
        assert caught.value.code == "model_not_loaded"
        [_, encoder] = client.models()
        assert (encoder.name, encoder.facts["kind"]) == ("encoder", "sentence-encoder")


def test_async_against_the_real_app() -> None:
    async def scenario() -> None:
        texts = [f"Angela {'Ohio ' * (number % 7)}" for number in range(30)]
        async with running(FakeModel(), encoder=FakeSentenceModel()) as (app, _):
            transport = httpx.ASGITransport(app=app)
            async with AsyncClient("http://onoma", texts_per_request=8, transport=transport) as client:
                assert np.array_equal(await client.embed(texts), make_embedder().embed(texts))
                assert await client.similarity([("Ohio", "Ohio"), ("Ohio", "Angela")]) == [1.0, 0.0]

    asyncio.run(scenario())


def test_a_server_without_an_encoder() -> None:
    async def scenario() -> None:
        async with running(FakeModel()) as (app, _):
            transport = httpx.ASGITransport(app=app)
            async with AsyncClient("http://onoma", transport=transport, retries=Retries(times=4)) as client:
                with pytest.raises(BadRequest) as caught:
                    await client.embed(["Ohio"])
                assert (caught.value.status, caught.value.code) == (404, "no_encoder")

    asyncio.run(scenario())
