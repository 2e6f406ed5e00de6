"""POST / and POST /models/{name} answer as the Inference API does, and huggingface_hub's own client reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import huggingface_hub
import pytest
from fakes import FakeModel, Serve, Served, make_tagger
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from sockets import listening

from service.app import create_app
from service.settings import Settings

TEXT = "👍🏽 Angela Merkel visited (Siemens) in  München."
GROUPS = [("PER", "Angela Merkel", 3, 16), ("ORG", "Siemens", 26, 33), ("LOC", "München", 39, 46)]
WORDS = [
    ("B-PER", 2, "Angela", 3, 9), ("I-PER", 3, "Merkel", 10, 16),
    ("B-ORG", 5, "Siemens", 26, 33), ("B-LOC", 7, "München", 39, 46),
]  # fmt: skip


def ask(served: Served, inputs: Any, path: str = "/", **parameters: Any) -> Any:
    response = served.client.post(path, json={"inputs": inputs, "parameters": parameters})
    assert response.status_code == 200, response.text
    return response.json()


def groups(elements: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    assert all(set(one) == {"entity_group", "score", "word", "start", "end"} for one in elements)
    return [(one["entity_group"], one["word"], one["start"], one["end"]) for one in elements]


def words(elements: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    assert all(set(one) == {"entity", "score", "index", "word", "start", "end"} for one in elements)
    return [(one["entity"], one["index"], one["word"], one["start"], one["end"]) for one in elements]


@pytest.mark.parametrize("strategy", [None, "simple", "first", "average", "max"])
def test_entities(served: Served, strategy: str | None) -> None:
    found = ask(served, TEXT, aggregation_strategy=strategy)
    assert groups(found) == GROUPS
    asked = served.ner(text=TEXT).json()["results"][0]["entities"]
    assert [one["score"] for one in found] == [one["score"] for one in asked]


def test_words(served: Served) -> None:
    found = ask(served, TEXT, aggregation_strategy="none")
    assert words(found) == WORDS
    assert found[0]["score"] == found[1]["score"]
    assert [one["index"] for one in ask(served, "Ohio,Ohio Siemens", aggregation_strategy="none")] == [1, 1, 2]


@pytest.mark.parametrize(
    ("ignored", "left", "left_words"),
    [
        (["O"], [0, 1, 2], [0, 1, 2, 3]),
        ([], [0, 1, 2], [0, 1, 2, 3]),
        (None, [0, 1, 2], [0, 1, 2, 3]),
        (["PER", "nothing"], [1, 2], [2, 3]),
        (["B-PER", "LOC"], [0, 1], [1, 2]),
    ],
)
def test_ignored_labels(served: Served, ignored: list[str], left: list[int], left_words: list[int]) -> None:
    assert groups(ask(served, TEXT, ignore_labels=ignored)) == [GROUPS[at] for at in left]
    found = ask(served, TEXT, ignore_labels=ignored, aggregation_strategy="none")
    assert words(found) == [WORDS[at] for at in left_words]


def test_lists_and_empty_texts(served: Served) -> None:
    assert [groups(one) for one in ask(served, ["", TEXT, "nothing"])] == [[], GROUPS, []]
    assert ask(served, "") == ask(served, []) == []
    assert ask(served, [""]) == [[]]


def test_what_changes_nothing(served: Served) -> None:
    body = {
        "inputs": TEXT,
        "options": {"wait_for_model": True},
        "parameters": {"stride": 8, "aggregation_strategy": None, "batch_size": 4},
    }
    assert groups(served.client.post("/", json=body).json()) == GROUPS
    assert groups(served.client.post("/", json={"inputs": TEXT, "parameters": None}).json()) == GROUPS


def test_long_texts_are_whole(served: Served) -> None:
    text = "word " * 500 + "Angela Merkel " + "word " * 5000 + "Siemens"
    assert [one["word"] for one in ask(served, text)] == ["Angela Merkel", "Siemens"]
    assert [one["index"] for one in ask(served, text, aggregation_strategy="none")] == [501, 502, 5503]


def test_named_models(served: Served) -> None:
    [sure] = ask(served, "Siemens likely", "/models/teacher")
    [unsure] = ask(served, "Siemens likely", "/models/student")
    assert sure["word"] == unsure["word"] == "Siemens"
    assert len(served.student.batches) == len(served.teacher.batches) == 1
    response = served.client.post("/models/huge", json={"inputs": "Ohio"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert served.metric("onoma_request_seconds_count", endpoint="/models/{name}", status="200") == 2


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({}, "invalid_request", "inputs: Field required"),
        ({"inputs": None}, "invalid_request", "inputs"),
        ({"inputs": {"text": "Ohio"}}, "invalid_request", "inputs: must be a string or a list of strings, got dict"),
        ({"inputs": ["Ohio", 1]}, "invalid_request", "inputs[1]: must be a string, got int"),
        ({"inputs": "a\0"}, "invalid_text", "inputs has a NUL character at character 1"),
        ({"inputs": ["", "\ud800"]}, "invalid_text", "inputs[1] has a lone surrogate"),
        ({"inputs": ["a"] * 4}, "limit_exceeded", "inputs: at most 3 in a request, got 4"),
        ({"inputs": "a" * 51}, "limit_exceeded", "inputs: at most 50 characters in a text, got 51"),
        ({"inputs": ["", "a" * 51]}, "limit_exceeded", "inputs[1]: at most 50 characters in a text, got 51"),
        ({"inputs": "", "parameters": {"stride": -1}}, "invalid_request", "parameters.stride: "),
        ({"inputs": "", "parameters": {"stride": "1"}}, "invalid_request", "parameters.stride: "),
        ({"inputs": "", "parameters": {"ignore_labels": "O"}}, "invalid_request", "parameters.ignore_labels: "),
        ({"inputs": "", "parameters": {"aggregation_strategy": "mean"}}, "invalid_request", "aggregation_strategy: "),
        ({"inputs": "", "parameters": []}, "invalid_request", "parameters: "),
    ],
)
def test_bad_requests(serve: Serve, body: dict[str, Any], code: str, said: str) -> None:
    response = serve(max_texts=3, max_text_chars=50).client.post("/", content=json.dumps(body))
    assert response.status_code == 422
    assert response.json()["error"]["code"] == code and said in response.json()["error"]["message"]


def test_the_index_is_as_before(served: Served) -> None:
    assert served.client.get("/").json()["name"] == "onoma"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where a real server listens."""
    taggers = {"student": make_tagger(FakeModel()), "teacher": make_tagger(FakeModel(sure=True))}
    with listening(create_app(Settings(max_text_chars=1000), models=taggers)) as (port, _):
        yield f"http://127.0.0.1:{port}"


def test_the_client_of_hugging_face(url: str) -> None:
    for client in (InferenceClient(base_url=url), InferenceClient(model=url), InferenceClient(url + "/models/teacher")):
        found = client.token_classification(TEXT)
        assert [(one.entity_group, one.word, one.start, one.end) for one in found] == GROUPS
        assert all(one.entity is None and 0.9 < one.score <= 1 for one in found)
    tags = InferenceClient().token_classification(
        TEXT, model=url, aggregation_strategy="none", ignore_labels=["O", "ORG"], stride=4
    )
    assert [(one.entity, one.word) for one in tags] == [(tag, word) for tag, _, word, *_ in WORDS if tag != "B-ORG"]
    assert InferenceClient(url).token_classification("") == []


@pytest.mark.parametrize(
    ("path", "text", "status", "said"),
    [
        ("/models/huge", "Ohio", 404, "model: there is no 'huge'; there is auto, student, teacher"),
        ("", "a\0", 422, "inputs has a NUL character at character 1"),
        ("", "a" * 1001, 422, "inputs: at most 1000 characters in a text, got 1001"),
    ],
)
def test_the_client_of_hugging_face_shows_our_messages(url: str, path: str, text: str, status: int, said: str) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        InferenceClient(url + path).token_classification(text)
    assert said in str(caught.value) and caught.value.response.status_code == status


@pytest.mark.skipif(
    huggingface_hub.__version__.startswith("0.") and find_spec("aiohttp") is None,
    reason="before 1.0 huggingface_hub's asynchronous client needs aiohttp",
)
def test_the_asynchronous_client_of_hugging_face(url: str) -> None:
    async def talk() -> None:
        async with AsyncInferenceClient(base_url=url) as client:
            found = await client.token_classification(TEXT)
            assert [(one.entity_group, one.word, one.start, one.end) for one in found] == GROUPS

    asyncio.run(talk())
