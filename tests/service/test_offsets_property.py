"""`text[start:end]` is `entity.text`, always: over all planes of Unicode, in all three units, at all window edges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from apps import KINDS, make_app
from effort import effort
from fakes import Client
from hard_texts import FAKE_NAMES, NAMES, styled, texts, tokens
from hypothesis import given
from hypothesis import strategies as st

ENCODINGS = {"codepoint": ("utf-32-le", 4), "utf16": ("utf-16-le", 2), "utf8": ("utf-8", 1)}
ALONE = ("start", "end")

Entities = list[dict[str, Any]]


@pytest.fixture(scope="module", params=KINDS)
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    client = Client(make_app(request.param))
    client.kind = request.param
    client.start()
    yield client
    client.close()


def ask(client: Client, **body: Any) -> list[Entities]:
    response = client.post("/ner", json=body)
    assert response.status_code == 200, response.text
    return [result["entities"] for result in response.json()["results"]]


def in_units(text: str, unit: str) -> list[bytes]:
    encoding, width = ENCODINGS[unit]
    encoded = text.encode(encoding)
    return [encoded[at : at + width] for at in range(0, len(encoded), width)]


def check_order(entities: Entities, length: int) -> None:
    done = 0
    for entity in entities:
        assert done <= entity["start"] < entity["end"] <= length, (entity, done, length)
        done = entity["end"]


def check_text(text: str, by_unit: dict[str, Entities]) -> None:
    for unit, entities in by_unit.items():
        units = in_units(text, unit)
        check_order(entities, len(units))
        for entity in entities:
            cut = b"".join(units[entity["start"] : entity["end"]]).decode(ENCODINGS[unit][0])
            assert cut == entity["text"], (unit, entity)
            assert entity["text"].strip() == entity["text"] != ""
    values = [
        [{key: value for key, value in entity.items() if key not in ALONE} for entity in entities]
        for entities in by_unit.values()
    ]
    assert all(one == values[0] for one in values), by_unit


def check_units(client: Client, asked: list[str], **body: Any) -> list[Entities]:
    """Ask in every unit, check every answer, and give that in code points."""
    answers = {unit: ask(client, texts=asked, offset_unit=unit, **body) for unit in ENCODINGS}
    for number, text in enumerate(asked):
        check_text(text, {unit: found[number] for unit, found in answers.items()})
    return answers["codepoint"]


@effort(60)
@given(asked=st.lists(texts(), min_size=1, max_size=3), model=st.sampled_from(["student", "teacher"]))
def test_the_slice_is_the_text_in_every_unit(client: Client, asked: list[str], model: str) -> None:
    check_units(client, asked, model=model)


@effort(30)
@given(asked=st.lists(texts(), max_size=6), unit=st.sampled_from(sorted(ENCODINGS)))
def test_two_models_in_one_answer(client: Client, asked: list[str], unit: str) -> None:
    """`auto`: some texts are answered by the teacher; every text gets its own entities."""
    for text, entities in zip(asked, ask(client, texts=asked, offset_unit=unit), strict=True):
        check_text(text, {unit: entities})


@effort(60)
@given(sentences=st.lists(tokens, min_size=1, max_size=3), unit=st.sampled_from(sorted(ENCODINGS)))
def test_tokens_answer_with_their_indices(client: Client, sentences: list[list[str]], unit: str) -> None:
    for given_tokens, entities in zip(sentences, ask(client, tokens=sentences, offset_unit=unit), strict=True):
        check_order(entities, len(given_tokens))
        for entity in entities:
            own = given_tokens[entity["start"] : entity["end"]]
            # Joined by a space, or by nothing in scripts written without.
            assert re.fullmatch(" ?".join(map(re.escape, own)), entity["text"]), (own, entity)


@effort(40)
@given(
    text=texts(),
    labels=st.none() | st.lists(st.sampled_from(["PER", "ORG", "LOC"]), min_size=1),
    min_score=st.floats(0, 1, width=32),
    unit=st.sampled_from(sorted(ENCODINGS)),
)
def test_filters_only_leave_out(
    client: Client, text: str, labels: list[str] | None, min_score: float, unit: str
) -> None:
    body = {"text": text, "offset_unit": unit, "model": "student"}
    [every] = ask(client, **body)
    [kept] = ask(client, **body, min_score=min_score, **({"labels": labels} if labels else {}))
    assert kept == [
        entity for entity in every if entity["score"] >= min_score and (not labels or entity["label"] in labels)
    ]


@pytest.mark.parametrize("filler", ["w", "𝔴", "🇩🇪", "文", "क्ष", "e\u0301\u0323"])
def test_a_name_at_every_place_of_every_window(client: Client, filler: str) -> None:
    """Names slide over the edges of all windows, in one long sentence and behind sentences."""
    names = ("Angela Merkel", "Siemens")
    one = [f"{f'{filler} ' * at}{' und '.join(names)}{f' {filler}' * (40 - at)}" for at in range(41)]
    several = [f"{f'{filler}! ' * at}{'. '.join(names)}! {filler} Ohio" for at in range(0, 41, 5)]
    found = check_units(client, one + several, model="student")
    named = [[name in (entity["text"] for entity in entities) for name in names] for entities in found]
    if client.kind.startswith("fake"):  # a model that sees nothing but words loses none, wherever it stands
        assert all(map(all, named))
    assert filler != "w" or any(map(any, named))


def test_names_of_all_scripts_are_found(client: Client) -> None:
    """So that the properties above are not about empty answers."""
    names = FAKE_NAMES[:4] if client.kind.startswith("fake") else NAMES
    asked = [" ".join(names), *names, *(styled(name, "full width") for name in names)]
    found = check_units(client, asked, model="student")
    assert sum(map(bool, found[: len(names) + 1])) > 0.8 * len(names)
    if client.kind == "bundled":  # the fakes do not normalise
        assert sum(map(bool, found[len(names) + 1 :])) > 0.7 * len(names)
