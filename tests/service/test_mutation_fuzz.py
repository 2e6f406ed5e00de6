"""Thousands of requests that are nearly right: each gets a documented answer, and the server goes on as before."""

from __future__ import annotations

import asyncio
import json
import random
import re
from typing import Any

import pytest
from apps import make_app
from effort import EFFORT
from fastapi import FastAPI
from mutations import SEEDS, Case, make_case
from raw_asgi import Answer, ask, no_constant

from service.errors import error_classes
from service.schemas import NerResponse

CASES = 5000 * EFFORT
LIMITS = {
    "max_body_bytes": 50_000, "max_texts": 35, "max_text_chars": 2_000, "max_total_chars": 4_000, "max_tokens": 60
}  # fmt: skip
STATUS_OF = {kind.code: kind.status for kind in error_classes()}
INPUTS = ("text", "texts", "tokens")
OPTIONS = ("model", "offset_unit", "labels", "min_score")
GOOD = json.dumps({"text": "Angela Merkel in Ohio", "min_score": 0.5}).encode()
HUGGING_FACE = (
    {"inputs": "Angela Merkel in Ohio", "parameters": {"aggregation_strategy": "simple", "ignore_labels": ["PER"]}},
    {"inputs": ["Ohio", "maybe Siemens 東京"], "parameters": {"aggregation_strategy": "none", "stride": 2}},
    {"inputs": "👍🏽 Ohio", "options": {"wait_for_model": True}},
)
TENSORS = (
    {"id": "1", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["Angela Merkel", "Ohio"]}]},
    {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [["東京 👍🏽"]]}],
        "outputs": [{"name": "entities"}],
        "parameters": {"offset_unit": "utf8", "labels": ["PER"], "min_score": 0.5},
    },
)
EMBED = (
    {"text": "Angela Merkel in Ohio"},
    {"texts": ["Ohio", "", "maybe Siemens 東京 " * 9], "model": "encoder"},
)
PAIRS = (
    {"pairs": [["Angela Merkel", "Merkel"], ["Ohio", "東京 👍🏽"]]},
    {"pairs": [["", "Ohio"], ["Ohio", "Ohio"]], "model": "encoder"},
)
OPENAI = (
    {"input": "Angela Merkel in Ohio", "model": "encoder", "encoding_format": "base64", "user": "x"},
    {"input": ["Ohio", "👍🏽"], "model": "encoder", "encoding_format": "float"},
)
# JSON has no bounds, parsers do: deeper, or with longer numbers, it may be refused as no JSON.
DEEP, LONG_NUMBER = 200, re.compile(rb"\d{19}|\d[eE]\+?\d{3}")


def parsed(body: bytes) -> Any:
    """What a client that knows JSON would say the body is; ValueError or RecursionError if it is none."""
    return json.loads(body.decode("utf-8"), parse_constant=no_constant)


def is_json(body: bytes) -> bool | None:
    """None where parsers may differ."""
    try:
        parsed(body)
    except (ValueError, RecursionError):
        return None if LONG_NUMBER.search(body) or _depth(body) > DEEP else False
    return None if LONG_NUMBER.search(body) or _depth(body) > DEEP else True


def _depth(body: bytes) -> int:
    return max(body.count(b"["), body.count(b"{"))


def check(case: Case, answer: Answer) -> None:
    content = answer.json()
    assert answer.headers["content-type"] == "application/json"
    if answer.status == 200:
        check_response(content, parsed(case.body))
        request_id = content["request_id"]
    else:
        error = check_error(answer)
        request_id = error["request_id"]
        if not any(name == b"content-encoding" for name, _ in case.headers) and answer.status != 413:
            assert (error["code"] == "bad_request") is not is_json(case.body)
    assert answer.headers["x-request-id"] == request_id
    assert re.fullmatch(r"[\w.:-]{1,128}", request_id, re.ASCII)


def check_response(content: Any, asked: Any) -> None:
    """By the schema, nothing more and nothing less, and an answer to what was asked."""
    assert NerResponse.model_validate(content, strict=False).model_dump(exclude_unset=True) == content
    assert set(asked) <= {*INPUTS, *OPTIONS}
    [given] = [name for name in INPUTS if asked.get(name) is not None]
    texts = asked[given] if given != "text" else [asked["text"]]
    assert len(content["results"]) == len(texts)
    for text, result in zip(texts, content["results"], strict=True):
        assert asked.get("model", "auto") in ("auto", result["model"])
        for entity in result["entities"]:
            assert entity["score"] >= asked.get("min_score", 0)
            assert entity["label"] in (asked.get("labels") or entity["label"])
            if given != "tokens" and asked.get("offset_unit", "codepoint") == "codepoint":
                assert text[entity["start"] : entity["end"]] == entity["text"]


def check_error(answer: Answer) -> dict[str, str]:
    """In the one form of all errors, with a code of the tree and its status, and short."""
    content = answer.json()
    assert set(content) == {"error"}
    error = content["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert all(isinstance(value, str) and value for value in error.values())
    assert STATUS_OF[error["code"]] == answer.status
    assert 400 <= answer.status < 500
    assert len(answer.body) < 1000 and "Traceback" not in error["message"]
    return dict(error)


async def answered(app: FastAPI, body: bytes) -> Answer:
    answer = await ask(app, body)
    assert answer is not None and answer.status == 200, answer
    return answer


async def fuzz(numbers: range) -> tuple[list[str], set[int], str]:
    """What was wrong, the statuses seen, and the metrics after all."""
    app = make_app(**LIMITS)
    wrong: list[str] = []
    statuses: set[int] = set()
    async with app.router.lifespan_context(app):
        documented = await ask(app, method="GET", path="/openapi.json")
        assert documented is not None
        allowed = {int(status) for status in documented.json()["paths"]["/ner"]["post"]["responses"]}
        good = (await answered(app, GOOD)).json()["results"]
        for number in numbers:
            case = make_case(number)
            try:
                answer = await ask(app, *case.chunks, headers=case.headers, gone=case.gone)
                if answer is not None and not (case.gone and answer.status == 499):
                    assert answer.status in allowed, answer
                    statuses.add(answer.status)
                    check(case, answer)
            except Exception as error:
                wrong.append(f"make_case({number}), {case.steps}, {case.body[:300]!r}, {case.headers}: {error!r:.500}")
            if number % 100 == 0:
                assert (await answered(app, GOOD)).json()["results"] == good
        assert (await answered(app, GOOD)).json()["results"] == good
        metrics = await ask(app, method="GET", path="/metrics")
        assert metrics is not None
    return wrong, statuses, metrics.body.decode()


def test_the_seeds_are_good() -> None:
    async def statuses() -> list[int]:
        app = make_app(**LIMITS)
        async with app.router.lifespan_context(app):
            return [(await answered(app, json.dumps(seed).encode())).status for seed in SEEDS]

    assert asyncio.run(statuses()) == [200] * len(SEEDS)


def test_every_mutant_gets_a_documented_answer() -> None:
    wrong, statuses, metrics = asyncio.run(fuzz(range(CASES)))
    assert not wrong, f"{len(wrong)} of {CASES}:\n" + "\n".join(wrong[:10])
    assert {200, 400, 413, 422} <= statuses
    assert "onoma_in_flight_requests 0.0" in metrics


OTHERS: dict[str, tuple[str, tuple[Any, ...]]] = {  # by the path: as OpenAPI has it, and good bodies
    "/": ("/", HUGGING_FACE),
    "/models/student": ("/models/{name}", HUGGING_FACE),
    "/v2/models/auto/infer": ("/v2/models/{model}/infer", TENSORS),
    "/v2/models/encoder/infer": ("/v2/models/{model}/infer", TENSORS[:1]),
    "/embed": ("/embed", EMBED),
    "/similarity": ("/similarity", PAIRS),
    "/v1/embeddings": ("/v1/embeddings", OPENAI),
    "/ner/stream": ("/ner/stream", SEEDS),
}


@pytest.mark.parametrize("path", OTHERS)
def test_every_mutant_elsewhere_too(path: str) -> None:
    """Other endpoints: no failure, a documented status, errors in the form of the endpoint, and good answers after."""
    documented, seeds = OTHERS[path]
    good = json.dumps(seeds[0]).encode()
    count = CASES // 5

    async def go() -> tuple[list[str], set[int], str]:
        app = make_app(**LIMITS)
        wrong: list[str] = []
        statuses: set[int] = set()
        async with app.router.lifespan_context(app):
            described = await ask(app, method="GET", path="/openapi.json")
            assert described is not None
            responses = described.json()["paths"][documented]["post"]["responses"]
            before = await ask(app, good, path=path)
            assert before is not None and before.status == 200, before
            for number in range(count):
                case = make_case(number, seeds)
                gone = case.gone and path != "/ner/stream"  # whose answer has begun by then, and ends in the middle
                try:
                    answer = await ask(app, *case.chunks, path=path, headers=case.headers, gone=gone)
                    if answer is None or (gone and answer.status == 499):
                        continue
                    statuses.add(answer.status)
                    assert str(answer.status) in responses or "4XX" in responses, answer
                    assert 200 <= answer.status < 500 and b"Traceback" not in answer.body
                    if path == "/ner/stream" and answer.status == 200:
                        for line in answer.body.splitlines():
                            assert set(json.loads(line)) & {"entities", "error"}, line
                    elif answer.status != 200:
                        error = answer.json()["error"]
                        assert (isinstance(error, str) and error) or STATUS_OF[error["code"]] == answer.status
                    else:
                        answer.json()
                except Exception as error:
                    wrong.append(f"make_case({number}), {case.body[:300]!r}, {case.headers}: {error!r:.500}")
            after = await ask(app, good, path=path)
            assert after is not None and after.status == 200
            metrics = await ask(app, method="GET", path="/metrics")
            assert metrics is not None
        return wrong, statuses, metrics.body.decode()

    wrong, statuses, metrics = asyncio.run(go())
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:10])
    assert 200 in statuses and (path == "/ner/stream" or {400, 422} <= statuses)
    assert "onoma_in_flight_requests 0.0" in metrics


def test_any_path_and_method() -> None:
    rng = random.Random(0)
    paths = ("/", "/ner", "/ner/", "//ner", "/NER", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json",
             "/redoc", "/nothing", "/../ner", "/ner/\0", "/😀", "/" + "a" * 5000)  # fmt: skip
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "get", "X" * 300)

    async def go() -> None:
        app = make_app(**LIMITS)
        async with app.router.lifespan_context(app):
            for _ in range(300 * EFFORT):
                method, path = rng.choice(methods), rng.choice(paths)
                answer = await ask(app, GOOD, method=method, path=path)
                assert answer is not None
                refused = (method, path) == ("POST", "/")  # that takes the body of Hugging Face
                assert answer.status in ((422,) if refused else (200, 307, 404, 405)), (method, path, answer)
                if answer.status >= 400:
                    check_error(answer)
                    assert ("allow" in answer.headers) is (answer.status == 405), (method, path)

    asyncio.run(go())
