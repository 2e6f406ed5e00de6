"""POST /embed, POST /similarity and POST /v1/embeddings: what a sentence encoder answers, and what it refuses."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest
import raw_asgi
from fakes import (
    VOCABULARY,
    FakeModel,
    FakeSentenceModel,
    Serve,
    Served,
    make_embedder,
    running,
    until,
)
from raw_asgi import ask

from service.embedding_schemas import EmbedResponse, SimilarityResponse
from service.openai import OpenAIResponse

D = len(VOCABULARY)
ENDPOINTS: dict[str, dict[str, Any]] = {
    "/embed": {"texts": ["Angela Merkel", "Ohio"]},
    "/similarity": {"pairs": [["Angela Merkel", "Ohio"]]},
    "/v1/embeddings": {"input": ["Angela Merkel", "Ohio"], "model": "encoder"},
}


@pytest.fixture
def served(serve: Serve) -> Served:
    """An app with a student, a teacher and a sentence encoder."""
    return serve(encoder=True)


def error_of(response: Any, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(response.json()) == {"error"} and set(error) == {"code", "message", "request_id"}
    assert error["code"] == code and error["request_id"] == response.headers["x-request-id"]
    return str(error["message"])


def test_vectors_are_those_of_the_embedder(served: Served) -> None:
    texts = ["Angela Merkel in München", "", "Ohio Ohio Siemens", "maybe 東京. Angela!"]
    response = served.embed(texts=texts)
    assert response.status_code == 200, response.text
    answer = response.json()
    EmbedResponse.model_validate(answer, strict=True, extra="forbid")
    assert np.array_equal(np.array(answer["embeddings"], dtype=np.float32), make_embedder().embed(texts))
    assert (answer["dimensions"], answer["model"]) == (D, "encoder")
    assert answer["request_id"] == response.headers["x-request-id"]
    assert not any(answer["embeddings"][1])
    timings = answer["timings_ms"]
    assert list(timings) == ["queue", "tokenize", "infer", "decode", "total"]
    assert timings["total"] >= timings["infer"] > 0


def test_one_text_has_one_vector(served: Served) -> None:
    one = served.embed(text="Angela Merkel").json()
    many = served.embed(texts=["Angela Merkel"], model="encoder").json()
    assert one["embeddings"] == many["embeddings"] and len(one["embeddings"]) == 1
    assert served.embed(texts=[]).json()["embeddings"] == []


def test_a_long_text_is_windowed_and_not_cut(served: Served) -> None:
    text = "Angela " * 3000 + "Ohio " * 1000  # more characters than are encoded on the event loop
    [vector] = served.embed(text=text).json()["embeddings"]
    assert vector[VOCABULARY["Ohio"]] / vector[VOCABULARY["Angela"]] == pytest.approx(1 / 3, rel=0.01)
    assert served.metric("onoma_windows_total", model="encoder") > 250
    assert served.metric("onoma_characters_total", model="encoder") == len(text)


def test_similarity(served: Served) -> None:
    pairs = [
        ["Angela Merkel", "Merkel Angela"],
        ["Angela Merkel", "Angela Siemens"],
        ["Angela", "Ohio"],
        ["", "Ohio"],
        ["", ""],
    ]
    response = served.similarity(*pairs)
    assert response.status_code == 200, response.text
    answer = response.json()
    SimilarityResponse.model_validate(answer, strict=True, extra="forbid")
    assert answer["scores"] == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert answer["model"] == "encoder" and answer["request_id"] == response.headers["x-request-id"]
    assert served.similarity().json()["scores"] == []


@pytest.mark.parametrize("path", ENDPOINTS)
def test_texts_that_come_twice_are_encoded_once(served: Served, path: str) -> None:
    texts = ["Angela Merkel", "Ohio", "Angela Merkel", "Angela Merkel"]
    pairs = [texts[:2], texts[2:]]
    body = {"/embed": {"texts": texts}, "/similarity": {"pairs": pairs}, "/v1/embeddings": {"input": texts}}[path]
    assert served.client.post(path, json=body).status_code == 200
    assert served.encoder is not None and sorted(sum(served.encoder.batches, [])) == [1, 2]
    assert served.metric("onoma_texts_total", model="encoder") == 2


def test_openai(served: Served) -> None:
    texts = ["Angela Merkel", "Ohio", ""]
    expected = make_embedder().embed(texts)
    body: dict[str, Any] = {"input": texts, "model": "encoder", "user": "somebody", "dimensions": D}
    response = served.client.post("/v1/embeddings", json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    OpenAIResponse.model_validate(answer, strict=True, extra="forbid")
    assert [(one["object"], one["index"]) for one in answer["data"]] == [("embedding", at) for at in range(3)]
    assert np.array_equal(np.array([one["embedding"] for one in answer["data"]], np.float32), expected)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert (answer["object"], answer["model"]) == ("list", "encoder")
    packed = served.client.post("/v1/embeddings", json=body | {"encoding_format": "base64"}).json()["data"]
    for one, vector in zip(packed, expected, strict=True):
        assert np.array_equal(np.frombuffer(base64.b64decode(one["embedding"]), "<f4"), vector)
    alone = served.client.post("/v1/embeddings", json={"input": "Ohio", "model": "encoder", "encoding_format": None})
    assert alone.json()["data"] == [answer["data"][1] | {"index": 0}]


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_server_without_an_encoder_says_so(serve: Serve, path: str) -> None:
    served = serve()
    for content in (json.dumps(ENDPOINTS[path]).encode(), b"{", b"[]"):
        response = served.client.post(path, content=content)
        assert "no sentence encoder" in error_of(response, 404, "no_encoder")
    assert "as `encoder`" in response.json()["error"]["message"]
    assert served.ner(text="Ohio").status_code == 200
    assert served.client.get("/readyz").json()["models"] == ["student", "teacher"]


BAD: dict[str, tuple[str, Any, int, str, str]] = {
    "empty body": ("/embed", b"", 400, "bad_request", "empty"),
    "no JSON": ("/similarity", b"{", 400, "bad_request", "not JSON"),
    "no object": ("/similarity", [], 422, "invalid_request", "list"),
    "neither": ("/embed", {}, 422, "invalid_request", "exactly one of text and texts, got none"),
    "both": ("/embed", {"text": "a", "texts": []}, 422, "invalid_request", "got both"),
    "number": ("/embed", {"text": 1}, 422, "invalid_request", "text"),
    "number in texts": ("/embed", {"texts": ["a", 1]}, 422, "invalid_request", "texts[1]"),
    "options of ner": ("/embed", {"text": "a", "labels": ["PER"]}, 422, "invalid_request", "labels"),
    "tokens": ("/embed", {"tokens": [["a"]]}, 422, "invalid_request", "tokens"),
    "no pairs": ("/similarity", {}, 422, "invalid_request", "pairs"),
    "a triple": ("/similarity", {"pairs": [["a", "b", "c"]]}, 422, "invalid_request", "pairs[0]"),
    "a single": ("/similarity", {"pairs": [["a", "b"], ["c"]]}, 422, "invalid_request", "pairs[1]"),
    "no list": ("/similarity", {"pairs": ["ab"]}, 422, "invalid_request", "pairs[0]"),
    "a number in a pair": ("/similarity", {"pairs": [["a", 2]]}, 422, "invalid_request", "pairs[0][1]"),
    "surrogate": ("/similarity", rb'{"pairs": [["a", "\ud800"]]}', 422, "invalid_text", "pairs[0][1] has a lone"),
    "NUL": ("/embed", {"texts": ["a", "b\0"]}, 422, "invalid_text", "texts[1] has a NUL"),
    "NUL in input": ("/v1/embeddings", {"input": "\0"}, 422, "invalid_text", "input has a NUL"),
    "token ids": ("/v1/embeddings", {"input": [1, 2]}, 422, "invalid_request", "input[0]: must be a string, got int"),
    "lists of ids": ("/v1/embeddings", {"input": [[1]]}, 422, "invalid_request", "input[0]: must be a string"),
    "no input": ("/v1/embeddings", {"model": "encoder"}, 422, "invalid_request", "input"),
    "format": ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, 422, "invalid_request", "encoding_format"),
    "dimensions": (
        *("/v1/embeddings", {"input": "a", "dimensions": 3}, 422, "invalid_request"),
        f"dimensions: encoder gives {D}",
    ),
    "a tagger": ("/embed", {"text": "a", "model": "student"}, 422, "model_not_loaded", "student finds entities"),
    "auto": ("/similarity", {"pairs": [], "model": "auto"}, 422, "model_not_loaded", "encoders are encoder"),
    "unknown model": ("/v1/embeddings", {"input": "a", "model": "gpt"}, 422, "model_not_loaded", "without 'gpt'"),
    "null model": ("/embed", {"text": "a", "model": None}, 422, "invalid_request", "model"),
    "too many texts": ("/embed", {"texts": ["a"] * 9}, 422, "limit_exceeded", "texts: at most 8 in a request, got 9"),
    "too many pairs": ("/similarity", {"pairs": [["", ""]] * 9}, 422, "limit_exceeded", "pairs: at most 8"),
    "too many inputs": ("/v1/embeddings", {"input": [""] * 9}, 422, "limit_exceeded", "input: at most 8"),
    "a long text": ("/embed", {"text": "a" * 51}, 422, "limit_exceeded", "text: at most 50 characters"),
    "a long text in a pair": (
        *("/similarity", {"pairs": [["", "a" * 51]]}, 422, "limit_exceeded"),
        "pairs[0][1]: at most 50 characters",
    ),
    "much text": ("/v1/embeddings", {"input": ["a" * 50] * 3}, 422, "limit_exceeded", "at most 120 characters in a"),
    "a large body": ("/embed", {"text": "a" * 3000}, 413, "body_too_large", "2000"),
}


@pytest.fixture
def small(serve: Serve) -> Served:
    return serve(encoder=True, max_texts=8, max_text_chars=50, max_total_chars=120, max_body_bytes=2000)


@pytest.mark.parametrize("case", BAD)
def test_refused_in_the_error_form(small: Served, case: str) -> None:
    path, body, status, code, said = BAD[case]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert said in error_of(small.client.post(path, content=content), status, code)
    assert small.metric("onoma_request_seconds_count", endpoint=path, status=str(status)) == 1
    assert small.metric("onoma_errors_total", code=code) == 1
    assert small.embed(text="Ohio").status_code == 200


@pytest.mark.parametrize("path", ENDPOINTS)
def test_wrong_method(served: Served, path: str) -> None:
    response = served.client.get(path)
    assert "POST" in error_of(response, 405, "method_not_allowed") and response.headers["allow"] == "POST"


def test_an_encoder_finds_no_entities(served: Served) -> None:
    for response in (
        served.ner(text="Ohio", model="encoder"),
        served.client.post("/models/encoder", json={"inputs": "Ohio"}),
        served.client.post("/ner/stream?model=encoder", content=b'"Ohio"\n'),
    ):
        message = error_of(response, 422, "model_not_loaded")
        assert "encoder gives vectors (POST /embed and POST /similarity)" in message
        assert "these do: student, teacher" in message
    assert served.encoder is not None and served.encoder.batches == []


def test_no_fallback_asks_it(serve: Serve) -> None:
    served = serve(teacher=False, encoder=True)
    result = served.ner(text="maybe Siemens").json()["results"][0]
    assert (result["model"], result["declined"]) == ("student", "no_teacher")


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_broken_model_is_a_500(served: Served, path: str) -> None:
    assert served.encoder is not None
    served.encoder.error = RuntimeError("secret text of a client")
    response = served.client.post(path, json=ENDPOINTS[path])
    assert "secret" not in response.text and error_of(response, 500, "inference_failed") == "the encoder failed"
    served.encoder.error = None
    served.encoder.not_finite = True
    error_of(served.client.post(path, json=ENDPOINTS[path]), 500, "inference_failed")
    served.encoder.not_finite = False
    assert served.client.post(path, json=ENDPOINTS[path]).status_code == 200


def test_a_model_of_another_width_is_a_500(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served.encoder is not None
    monkeypatch.setattr(served.encoder, "_emissions", lambda ids: np.zeros(D + 1, np.float32))
    error_of(served.embed(text="Ohio"), 500, "inference_failed")


def test_a_text_that_kills_its_worker(served: Served) -> None:
    error_of(served.embed(text="kill"), 503, "worker_dead")
    assert served.metric("onoma_worker_deaths_total", model="encoder") == 2
    assert served.embed(text="Ohio").status_code == 200


def test_readiness_is_of_the_encoder_too(served: Served) -> None:
    assert served.client.get("/readyz").json()["models"] == ["student", "teacher", "encoder"]
    assert served.encoder is not None
    served.encoder.error = RuntimeError("broken")
    assert "the encoder failed" in error_of(served.client.get("/readyz"), 503, "not_ready")
    assert served.client.get("/v2/models/encoder/ready").status_code == 503
    assert served.client.get("/v2/models/auto/ready").status_code == 200


def test_a_key_is_needed(serve: Serve, tmp_path: Any) -> None:
    file = tmp_path / "keys"
    file.write_text("a-key-of-sixteen-characters\n", encoding="utf-8")
    served = serve(encoder=True, api_keys_file=file)
    for path, body in ENDPOINTS.items():
        error_of(served.client.post(path, json=body), 401, "unauthorized")
        headers = {"authorization": "Bearer a-key-of-sixteen-characters"}
        assert served.client.post(path, json=body, headers=headers).status_code == 200


def test_metrics_have_the_encoder_by_name(served: Served) -> None:
    assert served.embed(texts=["Angela Merkel", "Ohio"]).status_code == 200
    assert served.similarity(["Ohio", "Siemens"]).status_code == 200
    for stage in ("queue", "tokenize", "infer", "decode", "total"):
        assert served.metric("onoma_stage_seconds_count", model="encoder", stage=stage) == 2
    assert served.metric("onoma_texts_total", model="encoder") == 4
    assert served.metric("onoma_request_seconds_count", endpoint="/embed", status="200") == 1
    assert served.metric("onoma_request_seconds_count", endpoint="/similarity", status="200") == 1
    assert served.metric("onoma_texts_total", model="student") == 0


def test_the_models_are_listed_with_their_kind(served: Served) -> None:
    listed = {one["name"]: one for one in served.client.get("/models").json()["models"]}
    assert {name: one["kind"] for name, one in listed.items()} == {
        "student": "token-classification",
        "teacher": "token-classification",
        "encoder": "sentence-encoder",
    }
    assert (listed["encoder"]["dimensions"], listed["encoder"]["labels"]) == (D, [])
    assert listed["student"]["dimensions"] is None


def test_kserve(served: Served) -> None:
    assert served.client.get("/v2/models/encoder").json() == {
        "name": "encoder",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "embeddings", "datatype": "FP32", "shape": [-1, D]}],
        "parameters": {"kind": "sentence-encoder"},
    }
    texts = ["Angela Merkel", "Ohio", "Ohio"]
    tensor = {"name": "text", "shape": [3], "datatype": "BYTES", "data": texts}
    answer = served.client.post("/v2/models/encoder/infer", json={"id": "7", "inputs": [tensor]}).json()
    [output] = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("embeddings", "FP32", [3, D])
    assert np.array_equal(np.array(output["data"], np.float32).reshape(3, D), make_embedder().embed(texts))
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("encoder", "1", "7")


@pytest.mark.parametrize(
    ("model", "change", "said"),
    [
        ("encoder", {"outputs": [{"name": "entities"}]}, "outputs[0].name: encoder gives embeddings, not entities"),
        ("student", {"outputs": [{"name": "embeddings"}]}, "student gives entities, model, fallback, not embeddings"),
        ("encoder", {"parameters": {"labels": ["PER"]}}, "parameters: 'labels' is not known; known are none"),
    ],
)
def test_kserve_asks_each_kind_for_its_own(served: Served, model: str, change: dict[str, Any], said: str) -> None:
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Ohio"]}]} | change
    response = served.client.post(f"/v2/models/{model}/infer", json=body)
    assert response.status_code == 422 and said in response.json()["error"]


def test_requests_share_batches_and_a_full_queue_refuses() -> None:
    async def scenario() -> None:
        encoder = FakeSentenceModel()
        async with running(FakeModel(), encoder=encoder, max_queue_tokens=64) as (app, client):
            engine = app.state.runtime.backends["encoder"].engine
            encoder.gate.clear()
            first = asyncio.create_task(client.post("/embed", json={"text": "Ohio"}))
            await until(encoder.entered.is_set)
            bodies = [
                ("/embed", {"texts": ["Angela Merkel", "Siemens"]}),
                ("/similarity", {"pairs": [["Angela", "Merkel"]]}),
                ("/v1/embeddings", {"input": "München Ohio"}),
            ]
            others = [asyncio.create_task(client.post(path, json=body)) for path, body in bodies]
            await until(lambda: engine.queued[0] == 5)
            refused = await client.post("/embed", json={"text": "Ohio " * 200})
            assert "the encoder's queue is full" in error_of(refused, 429, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
            # Whatever the encoder's queue is like, entities are found.
            assert (await client.post("/ner", json={"text": "Ohio"})).status_code == 200
            encoder.gate.set()
            assert {answer.status_code for answer in await asyncio.gather(first, *others)} == {200}
            assert [len(batch) for batch in encoder.batches] == [1, 5]

    asyncio.run(scenario())


def test_a_request_may_take_so_long_and_no_longer() -> None:
    async def scenario() -> None:
        encoder = FakeSentenceModel()
        async with running(FakeModel(), encoder=encoder, deadline_seconds=0.2) as (app, client):
            encoder.gate.clear()
            late = await client.post("/similarity", json={"pairs": [["Ohio", "Angela"]]})
            assert error_of(late, 504, "deadline_exceeded")
            encoder.gate.set()
            await until(lambda: app.state.runtime.backends["encoder"].queued == (0, 0))

    asyncio.run(scenario())


def test_a_client_that_is_gone_is_not_answered() -> None:
    async def scenario() -> None:
        encoder = FakeSentenceModel()
        async with running(FakeModel(), encoder=encoder) as (app, client):
            encoder.gate.clear()
            held = asyncio.create_task(client.post("/embed", json={"text": "Ohio"}))
            await until(encoder.entered.is_set)
            received = asyncio.Event()
            sent: list[Any] = []
            messages = [{"type": "http.request", "body": b'{"text": "Siemens"}'}]

            async def receive() -> Any:
                if messages:
                    return messages.pop(0)
                received.set()
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                sent.append(message)

            await app(raw_asgi._scope("POST", "/embed", []), receive, send)
            assert received.is_set() and sent[0]["status"] == 499
            engine = app.state.runtime.backends["encoder"].engine
            assert engine.queued == (0, 0)
            encoder.gate.set()
            assert (await held).status_code == 200
            assert encoder.batches == [[1]], "what nobody waits for does not run"

    asyncio.run(scenario())


def test_a_large_answer_is_as_a_small_one() -> None:
    async def scenario() -> None:
        # More numbers than are written on the event loop, and a body of more bytes than is read there.
        texts = [f"Ohio {'Angela ' * (at % 7)}{at}" for at in range(4000)]
        async with running(FakeModel(), encoder=FakeSentenceModel(), max_texts=4000) as (app, _):
            answer = await ask(app, json.dumps({"texts": texts}).encode(), path="/embed")
            assert answer is not None and answer.status == 200
            vectors = np.array(answer.json()["embeddings"], dtype=np.float32)
            assert np.array_equal(vectors, make_embedder().embed(texts))

    asyncio.run(scenario())
