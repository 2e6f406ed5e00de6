"""POST /ner answers by the contract."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fakes import Served

TEXT = "👍🏽 Angela Merkel visited Siemens in München."


def entities(response: httpx.Response, number: int = 0) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return response.json()["results"][number]["entities"]


def test_one_text(served: Served) -> None:
    response = served.ner(text="Angela Merkel visited Siemens in München.")
    body = response.json()
    assert response.status_code == 200
    assert set(body) == {"results", "request_id", "timings_ms"}
    assert set(body["timings_ms"]) == {"queue", "tokenize", "infer", "decode", "total"}
    assert all(value >= 0 for value in body["timings_ms"].values())
    [result] = body["results"]
    assert {key: result[key] for key in ("model", "fallback", "windows")} == {
        "model": "student",
        "fallback": None,
        "windows": 1,
    }
    assert [(e["start"], e["end"], e["label"], e["text"]) for e in result["entities"]] == [
        (0, 13, "PER", "Angela Merkel"),
        (22, 29, "ORG", "Siemens"),
        (33, 40, "LOC", "München"),
    ]
    assert all(0.99 < e["score"] <= 1 and e["score"] == round(e["score"], 6) for e in result["entities"])
    assert response.headers["x-request-id"] == body["request_id"]


@pytest.mark.parametrize(
    ("unit", "encoding", "width"), [("codepoint", "utf-32-le", 4), ("utf16", "utf-16-le", 2), ("utf8", "utf-8", 1)]
)
def test_offsets_in_every_unit(served: Served, unit: str, encoding: str, width: int) -> None:
    units = TEXT.encode(encoding)
    found = entities(served.ner(text=TEXT, offset_unit=unit))
    assert [e["text"] for e in found] == ["Angela Merkel", "Siemens", "München"]
    for e in found:
        assert units[e["start"] * width : e["end"] * width].decode(encoding) == e["text"]


def test_texts_keep_their_order_and_may_be_empty(served: Served) -> None:
    response = served.ner(texts=["", "Siemens", "   ", "Ohio and Siemens", "nothing"])
    results = response.json()["results"]
    assert [[e["text"] for e in one["entities"]] for one in results] == [[], ["Siemens"], [], ["Ohio", "Siemens"], []]
    assert [one["windows"] for one in results] == [0, 1, 0, 1, 1]


@pytest.mark.parametrize("body", [{"texts": []}, {"tokens": []}])
def test_nothing_asked_nothing_answered(served: Served, body: dict[str, Any]) -> None:
    assert served.ner(**body).json()["results"] == []


def test_empty_text(served: Served) -> None:
    assert served.ner(text="").json()["results"] == [
        {"entities": [], "model": "student", "fallback": None, "windows": 0}
    ]


def test_tokens_give_token_indices(served: Served) -> None:
    response = served.ner(tokens=[["Yes", "Angela", "Merkel", "in", "München"], [], ["Siemens"]], offset_unit="utf8")
    found = [(e["start"], e["end"], e["label"], e["text"]) for e in entities(response)]
    assert found == [(1, 3, "PER", "Angela Merkel"), (4, 5, "LOC", "München")]
    assert entities(response, 1) == []
    assert [(e["start"], e["end"]) for e in entities(response, 2)] == [(0, 1)]


def test_labels_and_min_score_filter(served: Served) -> None:
    text = "Angela Merkel visited Siemens in München"
    assert [e["label"] for e in entities(served.ner(text=text, labels=["PER", "LOC"]))] == ["PER", "LOC"]
    assert len(entities(served.ner(text=text, min_score=0.99))) == 3
    served.student.sure = True
    assert entities(served.ner(text=text, min_score=1.0)) == [
        e for e in entities(served.ner(text=text)) if e["score"] >= 1.0
    ]


def test_long_text_is_windowed_never_cut(served: Served) -> None:
    filler = "word " * 100
    text = f"{filler}Siemens {filler}Angela Merkel {filler}Ohio"
    response = served.ner(text=text)
    assert [e["text"] for e in entities(response)] == ["Siemens", "Angela Merkel", "Ohio"]
    assert all(text[e["start"] : e["end"]] == e["text"] for e in entities(response))
    assert response.json()["results"][0]["windows"] > 20


def test_large_request_takes_the_pool_and_answers_the_same(served: Served) -> None:
    texts = ["Angela Merkel in Ohio. " * 100] * 40
    response = served.ner(texts=texts)
    assert len(response.content) > 32_768
    assert [len(one["entities"]) for one in response.json()["results"]] == [200] * 40


def test_request_id_is_kept_when_sane(served: Served) -> None:
    kept = served.client.post("/ner", json={"text": ""}, headers={"x-request-id": "trace-1.a:b"})
    assert kept.json()["request_id"] == kept.headers["x-request-id"] == "trace-1.a:b"
    for bad in ("a b", "x" * 129, "<script>"):
        made = served.client.post("/ner", json={"text": ""}, headers={"x-request-id": bad})
        assert made.headers["x-request-id"] == made.json()["request_id"] != bad


def test_other_endpoints(served: Served) -> None:
    assert served.client.get("/healthz").json() == {"status": "alive"}
    assert served.client.get("/readyz").json() == {"status": "ready", "models": ["student", "teacher"]}
    index = served.client.get("/").json()
    assert index["labels"] == ["PER", "ORG", "LOC"] and set(index["models"]) == {"student", "teacher"}
    assert served.client.get("/docs").status_code == 200


def test_openapi_describes_request_and_response(served: Served) -> None:
    operation = served.client.get("/openapi.json").json()["paths"]["/ner"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert {"text", "texts", "tokens", "model", "offset_unit", "labels", "min_score"} == set(schema["properties"])
    assert schema["examples"]
    assert {"200", "400", "413", "422", "429", "503", "504"} <= set(operation["responses"])
