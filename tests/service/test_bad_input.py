"""Bad input gets a 4xx in the error form, and the next request is answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes import Serve, Served

BAD = {
    "empty body": (b"", 400, "bad_request", "empty"),
    "spaces": (b"  \n", 400, "bad_request", "empty"),
    "no json": (b"{", 400, "bad_request", "not JSON"),
    "form": (b"text=Angela", 400, "bad_request", "not JSON"),
    "no utf-8": (b'{"text": "\xff"}', 400, "bad_request", "UTF-8"),
    "nan": (b'{"text": "a", "min_score": NaN}', 400, "bad_request", "NaN"),
    "long integer": (b'{"text": "a", "min_score": ' + b"9" * 5000 + b"}", 400, "bad_request", "too long"),
    "deep": (b'{"text":' + b"[" * 100_000, 400, "bad_request", "deep"),
    "array": (b"[]", 422, "invalid_request", "list"),
    "nothing": (b"{}", 422, "invalid_request", "exactly one"),
    "null": (b'{"text": null}', 422, "invalid_request", "exactly one"),
    "two": (b'{"text": "a", "texts": ["b"]}', 422, "invalid_request", "text and texts"),
    "number": (b'{"text": 1}', 422, "invalid_request", "text"),
    "number in texts": (b'{"texts": ["a", 1]}', 422, "invalid_request", "texts[1]"),
    "texts is a string": (b'{"texts": "a"}', 422, "invalid_request", "texts"),
    "flat tokens": (b'{"tokens": ["a"]}', 422, "invalid_request", "tokens[0]"),
    "extra": (b'{"text": "a", "lang": "de"}', 422, "invalid_request", "lang"),
    "model": (b'{"text": "a", "model": "gpt"}', 422, "model_not_loaded", "gpt"),
    "unit": (b'{"text": "a", "offset_unit": "bytes"}', 422, "invalid_request", "offset_unit"),
    "score": (b'{"text": "a", "min_score": 1.5}', 422, "invalid_request", "min_score"),
    "score is a string": (b'{"text": "a", "min_score": "0.5"}', 422, "invalid_request", "min_score"),
    "infinite score": (b'{"text": "a", "min_score": 1e999}', 422, "invalid_request", "min_score"),
    "label": (b'{"text": "a", "labels": ["PER", "MISC"]}', 422, "unknown_label", "MISC"),
    "no labels": (b'{"text": "a", "labels": []}', 422, "invalid_request", "labels"),
    "surrogate": (rb'{"text": "ab\ud800"}', 422, "invalid_text", "text has a lone surrogate U+D800 at character 2"),
    "surrogate in texts": (rb'{"texts": ["a", "\udfff"]}', 422, "invalid_text", "texts[1]"),
    "surrogate in tokens": (rb'{"tokens": [["a"], ["b", "\udfff"]]}', 422, "invalid_text", "tokens[1][1]"),
    "surrogate in a label": (rb'{"text": "a", "labels": ["\ud800"]}', 422, "unknown_label", "ud800"),
    "surrogate in a field": (rb'{"text": "a", "\ud800": 1}', 422, "invalid_request", "unicode"),
    "nul": (rb'{"text": "a\u0000b"}', 422, "invalid_text", "NUL character at character 1"),
    "texts": (json.dumps({"texts": ["a"] * 100_000}).encode(), 422, "limit_exceeded", "100000"),
    "10 MB": (b'{"text": "' + b"a" * 10_000_000 + b'"}', 413, "body_too_large", "10000012"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_in_the_error_form(served: Served, case: str) -> None:
    body, status, code, said = BAD[case]
    response = served.client.post("/ner", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(response.json()) == {"error"} and set(error) == {"code", "message", "request_id"}
    assert error["code"] == code
    assert said in error["message"]
    assert error["request_id"] == response.headers["x-request-id"]
    assert served.metric("onoma_errors_total", code=code) == 1
    assert served.ner(text="Siemens").json()["results"][0]["entities"][0]["text"] == "Siemens"


@pytest.mark.parametrize(
    "body",
    [
        {"text": "a", "x" * 100_000: 1},
        {"text": "a", "model": "y" * 100_000},
        {"text": "a", "labels": ["z" * 100_000]},
        {"text": ["q" * 100_000]},
    ],
)
def test_huge_input_is_not_repeated(served: Served, body: dict[str, Any]) -> None:
    response = served.ner(**body)
    assert response.status_code == 422
    assert len(response.content) < 600


def test_streamed_body_is_counted(served: Served) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"a" * 1_000_000

    response = served.client.post("/ner", content=chunks())
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"


def test_compressed_body(served: Served) -> None:
    response = served.client.post("/ner", content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert response.status_code == 400 and "content-encoding" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"text": "a" * 51}, "text: at most 50 characters in a text, got 51"),
        ({"texts": ["", "a" * 51]}, "texts[1]: at most 50 characters"),
        ({"texts": ["a" * 40, "b" * 40]}, "at most 70 characters in a request, got 80"),
        ({"texts": [""] * 4}, "texts: at most 3 in a request, got 4"),
        ({"tokens": [["a"] * 3, ["b"] * 3]}, "tokens: at most 5 tokens in a request, got 6"),
        ({"tokens": [[]] * 4}, "tokens: at most 3 in a request, got 4"),
    ],
)
def test_limits_name_field_limit_and_value(serve: Serve, body: dict[str, Any], said: str) -> None:
    served = serve(max_text_chars=50, max_total_chars=70, max_texts=3, max_tokens=5)
    error = served.ner(**body)
    assert error.status_code == 422
    assert error.json()["error"]["code"] == "limit_exceeded"
    assert said in error.json()["error"]["message"]
    assert served.ner(text="a" * 50).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing", 404, "not_found"), ("GET", "/ner", 405, "method_not_allowed"),
     ("DELETE", "/metrics", 405, "method_not_allowed")],
)
def test_wrong_path_or_method(served: Served, method: str, path: str, status: int, code: str) -> None:
    response = served.client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.headers["x-request-id"] == response.json()["error"]["request_id"]


def test_model_not_loaded(serve: Serve) -> None:
    response = serve(teacher=False).ner(text="a", model="teacher")
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "model_not_loaded"


def test_what_nobody_foresaw_is_a_500_without_traceback(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("sec" + "ret text of a client")

    monkeypatch.setattr("service.ner.render", broken)
    response = served.ner(text="Siemens")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "secret" not in response.text and "secret" not in caplog.text
    assert "KeyError" in caplog.text and response.json()["error"]["request_id"] in caplog.text
