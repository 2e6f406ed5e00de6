"""What both clients send and what they make of the answers."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx
import pytest
from client_contract import MODELS, AnyClient, Contract, Make
from hypothesis import given
from hypothesis import strategies as st

from onoma import TextError, __version__
from onoma.client import (
    BadRequest,
    Client,
    ClientError,
    Entity,
    InvalidText,
    ModelInfo,
    Result,
    Retries,
)
from onoma.client._batching import Batcher, Limits, Sized, batches

TEXT = "Angela Merkel visited Siemens in München."
ENTITIES = (
    Entity(0, 13, "PER", "Angela Merkel", 0.9),
    Entity(22, 29, "ORG", "Siemens", 0.9),
    Entity(33, 40, "LOC", "München", 0.9),
)


def test_one_text(client: AnyClient, contract: Contract) -> None:
    assert client.tag(TEXT) == Result(ENTITIES, model="auto", fallback=None, windows=1, declined=None)
    [request] = contract.requests
    assert (request.method, request.url) == ("POST", "http://onoma/ner")
    assert contract.bodies() == [{"text": TEXT, "model": "auto", "offset_unit": "codepoint", "min_score": 0.0}]
    assert request.headers["user-agent"] == f"onoma/{__version__}"
    assert "authorization" not in request.headers
    assert len(request.headers["x-request-id"]) == 32


def test_options_are_sent(client: AnyClient, contract: Contract) -> None:
    options: dict[str, Any] = {"model": "teacher", "offset_unit": "utf16", "labels": ("PER", "LOC"), "min_score": 0.5}
    sent = {**options, "labels": ["PER", "LOC"]}
    result = client.tag(TEXT, **options)
    assert [entity.label for entity in result.entities] == ["PER", "LOC"] and result.model == "teacher"
    client.tag_batch([TEXT], **options)
    assert list(client.stream([TEXT], **options)) == [result]
    del options["offset_unit"]
    client.tag_tokens([["Angela", "Merkel"]], **options)
    first, second, _, fourth = (request.content for request in contract.requests)
    assert json.loads(first) == {"text": TEXT, **sent}
    assert json.loads(second) == {"texts": [TEXT], **sent}
    assert json.loads(fourth) == {"tokens": [["Angela", "Merkel"]], **sent, "offset_unit": "codepoint"}
    query = {"model": "teacher", "offset_unit": "utf16", "labels": "PER,LOC", "min_score": "0.5"}
    assert dict(contract.requests[2].url.params) == query


def test_optional_keys_of_a_result_and_new_ones(make: Make) -> None:
    entity = {"start": 0, "end": 1, "label": "PER", "text": "A", "score": 1, "new": 1}
    result = {"entities": [entity], "model": "teacher", "fallback": "low_confidence", "windows": 2, "new": {}}
    declined = {"entities": [], "model": "student", "fallback": None, "windows": 0, "declined": "busy"}
    client = make(lambda _: httpx.Response(200, json={"results": [result, declined], "new": None}))
    assert client.tag_batch(["A", "b"]) == [
        Result((Entity(0, 1, "PER", "A", 1.0),), "teacher", "low_confidence", 2),
        Result((), "student", None, 0, declined="busy"),
    ]


def test_a_path_before_the_service_and_a_key(make: Make, contract: Contract) -> None:
    requests: list[httpx.Request] = []

    def proxy(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return contract(httpx.Request(request.method, "http://x/ner", headers=request.headers, content=request.read()))

    make(proxy, url="https://example.org/tools/onoma/", api_key="s3cret").tag(TEXT)
    assert str(requests[0].url) == "https://example.org/tools/onoma/ner"
    assert requests[0].headers["authorization"] == "Bearer s3cret"


def test_texts_are_split_and_keep_their_order(make: Make, contract: Contract) -> None:
    client = make(texts_per_request=3)
    texts = [f"{number} Ohio" for number in range(10)]
    results = client.tag_batch(texts)
    assert [result.entities[0].start for result in results] == [len(text) - 4 for text in texts]
    assert sorted(len(body["texts"]) for body in contract.bodies()) == [1, 3, 3, 3]
    assert sorted(text for body in contract.bodies() for text in body["texts"]) == texts
    assert len({request.headers["x-request-id"] for request in contract.requests}) == 4


def test_characters_bound_a_request_unless_one_text_is_longer(make: Make, contract: Contract) -> None:
    client = make(chars_per_request=10, requests_at_once=1)
    client.tag_batch(["a" * 6, "b" * 4, "c" * 11, "d", "e"])
    assert [body["texts"] for body in contract.bodies()] == [["a" * 6, "b" * 4], ["c" * 11], ["d", "e"]]
    contract.requests.clear()
    client.tag_tokens([["ab", "cd"], ["e"], ["f"]])  # 6, 2 and 2 with their spaces
    client.tag_tokens([["ab", "cd"], ["e"], ["fg"]])
    assert [len(body["tokens"]) for body in contract.bodies()] == [3, 2, 1]


@pytest.mark.parametrize("text", ["東" * 1000, "\x01" * 1000, "😀" * 1000])
def test_no_body_is_over_the_servers_limit(make: Make, contract: Contract, text: str) -> None:
    client = make(texts_per_request=1024, chars_per_request=2_000_000)
    assert len(client.tag_batch([text] * 1500)) == len(list(client.stream([text] * 1500))) == 1500
    assert max(len(request.content) for request in contract.requests) < 4 * 1024 * 1024
    assert len(contract.requests) >= 4


def test_tokens(client: AnyClient, contract: Contract) -> None:
    results = client.tag_tokens([["Siemens"], [], ["in", "Ohio"]])
    assert [len(result.entities) for result in results] == [1, 0, 1]


@pytest.mark.parametrize("method", ["tag_batch", "tag_tokens", "stream"])
def test_nothing_in_nothing_sent(client: AnyClient, contract: Contract, method: str) -> None:
    assert list(getattr(client, method)([])) == [] and contract.requests == []


@pytest.mark.parametrize("method", ["tag_batch", "tag_tokens", "stream"])
def test_one_string_is_not_several(client: AnyClient, method: str) -> None:
    with pytest.raises(TypeError, match="got one"):
        list(getattr(client, method)("Ohio"))


def test_arguments_that_make_no_sense(client: AnyClient, contract: Contract) -> None:
    with pytest.raises(TypeError, match=r"tokens\[1\] must be several strings"):
        client.tag_tokens([["a"], "Ohio"])
    with pytest.raises(TypeError, match=r"texts\[1\] must be a string, got NoneType"):
        client.tag_batch(["a", None])
    with pytest.raises(TypeError, match="labels must be several"):
        client.tag(TEXT, labels="PER")
    with pytest.raises(ValueError, match="labels"):
        client.tag(TEXT, labels=[])
    for score in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="min_score must be in 0..1"):
            client.tag(TEXT, min_score=score)
    with pytest.raises(ValueError, match="on_error must be one of raise, yield, got 'ignore'"):
        client.stream([], on_error="ignore")
    assert contract.requests == []


@pytest.mark.parametrize("bad", ["a\ud800b", "a\0b", "\ud83d\ude00"])
def test_a_text_that_cannot_be_tagged_is_not_sent(client: AnyClient, contract: Contract, bad: str) -> None:
    with pytest.raises(InvalidText, match=r"texts\[1\] has"):
        client.tag_batch(["good", bad])
    with pytest.raises(TextError, match=r"tokens\[0\]\[1\] has"):
        client.tag_tokens([["good", bad]])
    with pytest.raises(ClientError, match="text has"):
        client.tag(bad)
    assert contract.requests == []


def test_an_error_says_which_texts_the_request_held(make: Make) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        many = b"too long" in request.content
        body = {"error": {"code": "limit_exceeded", "message": "texts[1]: too long", "request_id": "r"}}
        return httpx.Response(422, json=body) if many else Contract()(request)

    with pytest.raises(BadRequest, match=r"texts\[1\]: too long") as caught:
        make(handler, texts_per_request=2).tag_batch(["a", "b", "c", "too long", "e"])
    assert caught.value.__notes__ == ["the request held texts 2 to 3"]


def test_models_and_health(client: AnyClient) -> None:
    [model] = client.models()
    assert model == ModelInfo("tiny", "student", MODELS[0])
    assert model.facts["size"] == {"bytes": 7} and hash(model)
    assert client.alive() is True and client.ready() is True


@pytest.mark.parametrize("settings", [
    {"url": "localhost:8000"}, {"url": "ftp://x"}, {"url": "http://"}, {"timeout": 0}, {"texts_per_request": 0},
    {"chars_per_request": -1}, {"requests_at_once": 0}, {"api_key": ""}, {"api_key": "a b"}, {"api_key": "a\nb"},
    {"api_key": "é"}, {"url": "http://user:word@host", "api_key": "k"}, {"retries": -1},
])
def test_settings_that_make_no_sense(make: Make, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="base_url|over 0|api_key|at least 0"):
        make(**settings)


@pytest.mark.parametrize("field", ["base_seconds", "max_seconds", "max_retry_after_seconds", "budget_seconds"])
def test_a_policy_that_makes_no_sense(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Retries(**{field: float("nan")})


def test_a_bounded_number_of_requests_at_once(contract: Contract) -> None:
    """Threads of the synchronous client; the other is measured in test_real_app.py."""
    lock, now, most = threading.Lock(), 0, 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1
        return contract(request)

    settings: dict[str, Any] = {"texts_per_request": 1, "transport": httpx.MockTransport(handler)}
    with Client("http://onoma", requests_at_once=3, **settings) as client:
        assert len(client.tag_batch(["Ohio"] * 20)) == 20
    assert 1 < most <= 3


@pytest.mark.parametrize("limits", [Limits(2, 99, 99), Limits(99, 10, 99), Limits(99, 99, 20)])
def test_a_batch_goes_as_soon_as_it_is_full(limits: Limits) -> None:
    batcher: Batcher[str] = Batcher(limits)
    assert list(batcher.add(Sized("a", characters=5, bytes=10))) == []
    [batch] = batcher.add(Sized("b", characters=5, bytes=10))
    assert batch.items == ["a", "b"] and list(batcher.rest()) == []


sizes = st.tuples(st.integers(0, 12), st.integers(0, 30))


@given(st.lists(sizes, max_size=30), st.integers(1, 4), st.integers(1, 20), st.integers(1, 50))
def test_batches(items: list[tuple[int, int]], texts: int, characters: int, size: int) -> None:
    sized = [Sized((number, *one), characters=one[0], bytes=one[1]) for number, one in enumerate(items)]
    made = list(batches(sized, Limits(texts=texts, characters=characters, bytes=size)))
    assert [item for batch in made for item in batch.items] == [one.item for one in sized]

    def over(batch: list[tuple[int, int, int]]) -> bool:
        return len(batch) > texts or sum(c for _, c, _ in batch) > characters or sum(b for *_, b in batch) > size

    for batch in made:
        assert batch.items and batch.first == batch.items[0][0]
        assert len(batch.items) == 1 or not over(batch.items)
    for batch, after in zip(made, made[1:], strict=False):
        full = sum(c for _, c, _ in batch.items) >= characters or sum(b for *_, b in batch.items) >= size
        assert full or over([*batch.items, after.items[0]]), "a batch was given up early"
