"""Same text, same answer: batch-mates, order, padding and other clients never change entities.

Nor do they change scores to speak of.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from apps import MODELS, NAMES, make_app
from effort import EFFORT, effort
from fakes import Client
from fastapi import FastAPI
from hard_texts import texts, tokens
from hypothesis import given
from hypothesis import strategies as st
from raw_asgi import ask

from onoma import Tagger
from onoma.tagger import Tagged

# The contract allows 1e-3. Weights are int8, sums are not: only another order of adding up could show, and it does not.
SCORE = 1e-5

SENTENCES = (
    "Angela Merkel visited Siemens in München.", "Barack Obama was born in Hawaii and studied in New York.",
    "Владимир Путин родился в Санкт-Петербурге.", "ولد نجيب محفوظ في القاهرة.", "दिल्ली भारत की राजधानी है।",
    "香港是一個城市。", "夏目漱石は東京で生まれた。", "เขาเดินทางไปกรุงเทพ", "Jomo Kenyatta alizaliwa nchini Kenya.",
    "서울은 대한민국의 수도이다.", "Łódź, Kraków i Gdańsk", "Αθήνα", "a", "?!", "1984", "👍🏽 🇩🇪", "", " \n", "東",
)  # fmt: skip
LONG = ("Merkel, Siemens und Ohio " * 60, " ".join(SENTENCES) * 8, "word " * 300 + "Obama", "北京和上海" * 80)
MIXED = (*SENTENCES, *SENTENCES, *LONG)


def check_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Two results for one text, but for why that model answered."""
    bare, scores = zip(*map(_without_scores, (found, expected)), strict=True)
    assert bare[0] == bare[1]
    assert scores[0] == pytest.approx(scores[1], abs=SCORE)


def _without_scores(result: dict[str, Any]) -> tuple[dict[str, Any], list[float]]:
    entities = [{**entity, "score": None} for entity in result["entities"]]
    kept = {key: value for key, value in result.items() if key not in ("fallback", "declined")}
    return {**kept, "entities": entities}, [entity["score"] for entity in result["entities"]]


@pytest.fixture(scope="module", params=NAMES)
def tagger(request: pytest.FixtureRequest) -> Tagger:
    return Tagger.load(MODELS / request.param, threads=1)


def as_result(tagged: Tagged) -> dict[str, Any]:
    entities = [
        {"start": one.start, "end": one.end, "label": one.label, "score": one.score} for one in tagged.entities
    ]
    return {"entities": entities, "windows": tagged.windows}


def test_batch_mates_order_and_padding_change_nothing(tagger: Tagger) -> None:
    alone = {text: as_result(tagger.tag(text)) for text in MIXED}
    assert sum(len(one["entities"]) for one in alone.values()) > 100
    rng = random.Random(0)
    for _ in range(8 * EFFORT):
        batch = rng.sample(MIXED, rng.choice((2, 3, 8, len(MIXED))))
        tagged = tagger.tag_batch(batch, batch_tokens=rng.choice((1, 300, 2048, 20_000)))
        for text, one in zip(batch, tagged, strict=True):
            check_same(as_result(one), alone[text])


def test_the_raw_numbers_hardly_move(tagger: Tagger) -> None:
    """In one padded model run with any others, the logits of a window are those that it has alone."""
    inputs = [ids for encoded in tagger.encode(MIXED) for ids in encoded.inputs]
    alone = [tagger.infer([ids])[0] for ids in inputs]
    rng = random.Random(1)
    for _ in range(6 * EFFORT):
        chosen = rng.choices(range(len(inputs)), k=rng.choice((2, 7, 30)))
        for at, rows in zip(chosen, tagger.infer([inputs[at] for at in chosen]), strict=True):
            assert rows == pytest.approx(alone[at], abs=1e-3)


@pytest.fixture(scope="module", params=["fake", "bundled"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    client = Client(make_app(request.param))
    client.start()
    yield client
    client.close()


def results(client: Client, **body: Any) -> list[dict[str, Any]]:
    response = client.post("/ner", json=body)
    assert response.status_code == 200, response.text
    return list(response.json()["results"])


@effort(40)
@given(asked=st.lists(texts(max_parts=5), min_size=1, max_size=5), model=st.sampled_from(NAMES))
def test_texts_of_a_request_do_not_touch_each_other(client: Client, asked: list[str], model: str) -> None:
    together = results(client, texts=asked, model=model)
    for text, found in zip(asked, together, strict=True):
        [alone] = results(client, text=text, model=model)
        check_same(found, alone)


@effort(25)
@given(asked=st.lists(tokens, min_size=1, max_size=4), model=st.sampled_from(NAMES))
def test_token_lists_of_a_request_do_not_touch_each_other(client: Client, asked: list[list[str]], model: str) -> None:
    together = results(client, tokens=asked, model=model)
    for sentence, found in zip(asked, together, strict=True):
        [alone] = results(client, tokens=[sentence], model=model)
        check_same(found, alone)


@effort(25)
@given(asked=st.lists(texts(max_parts=5), min_size=1, max_size=5))
def test_auto_gives_the_answer_of_the_model_it_names(client: Client, asked: list[str]) -> None:
    """Which model answers may depend on the load; what it answers may not."""
    by_model = {model: results(client, texts=asked, model=model) for model in NAMES}
    for at, found in enumerate(results(client, texts=asked, model="auto")):
        expected = by_model[found["model"]][at]
        check_same(found, expected)


def bodies(rng: random.Random) -> list[dict[str, Any]]:
    """Requests of all kinds and sizes."""
    made: list[dict[str, Any]] = [{"text": text} for text in MIXED]
    made += [{"texts": rng.sample(MIXED, rng.randint(1, 6)), "offset_unit": "utf16"} for _ in range(10)]
    made += [{"tokens": [text.split() for text in rng.sample(SENTENCES, 3)]} for _ in range(10)]
    return [{**body, "model": rng.choice(NAMES)} for body in made]


@pytest.mark.parametrize("settings", [{}, {"batch_tokens": 64}, {"workers": 2}], ids=str)
def test_many_clients_at_once_get_the_answers_of_one_at_a_time(settings: dict[str, Any]) -> None:
    rng = random.Random(2)
    asked = bodies(rng)

    async def one(app: FastAPI, body: dict[str, Any]) -> list[dict[str, Any]]:
        answer = await ask(app, json.dumps(body).encode())
        assert answer is not None and answer.status == 200, answer
        return list(answer.json()["results"])

    async def go() -> None:
        app = make_app("bundled", **settings)
        async with app.router.lifespan_context(app):
            alone = [await one(app, body) for body in asked]
            for _ in range(EFFORT):
                order = rng.sample(range(len(asked)), len(asked))
                together = await asyncio.gather(*(one(app, asked[at]) for at in order))
                for at, found in zip(order, together, strict=True):
                    for result, expected in zip(found, alone[at], strict=True):
                        check_same(result, expected)

    asyncio.run(go())
