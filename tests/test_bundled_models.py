"""The models in models/: what a person who runs `make serve` would try first."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx
import pytest
from tokenizers import Tokenizer

from onoma import Tagger
from onoma.bundle import read_manifest
from onoma.windows import segments
from service.app import create_app
from service.settings import Settings

MODELS = Path(__file__).resolve().parents[1] / "models"
LIMITS = {"student": 8_000_000, "teacher": 32_000_000}

# Sentences written for this test; each with names that any sensible tagger of the language finds.
SENSIBLE = {
    "en": ("Barack Obama was born in Hawaii and studied in New York.", {"Barack Obama": "PER", "Hawaii": "LOC"}),
    "de": ("Angela Merkel wurde in Hamburg geboren.", {"Angela Merkel": "PER", "Hamburg": "LOC"}),
    "ar": ("ولد نجيب محفوظ في القاهرة.", {"القاهرة": "LOC"}),
    "hi": ("दिल्ली भारत की राजधानी है।", {"दिल्ली": "LOC", "भारत": "LOC"}),
    "zh": ("香港是一個城市。", {"香港": "LOC"}),
    "ja": ("夏目漱石は東京で生まれた。", {"東京": "LOC"}),
    "ru": ("Владимир Путин родился в Санкт-Петербурге.", {"Владимир Путин": "PER"}),
    "th": ("เขาเดินทางไปกรุงเทพ", {"กรุงเทพ": "LOC"}),
    "sw": ("Jomo Kenyatta alizaliwa nchini Kenya.", {"Jomo Kenyatta": "PER", "Kenya": "LOC"}),
}


@pytest.fixture(scope="module", params=sorted(LIMITS))
def tagger(request: pytest.FixtureRequest) -> Tagger:
    return Tagger.load(MODELS / request.param, threads=1)


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_the_bundle_is_small_enough_and_says_what_it_is(name: str) -> None:
    folder = MODELS / name
    assert sum(file.stat().st_size for file in folder.iterdir()) <= LIMITS[name]
    manifest = Tagger.load(folder, threads=1).manifest
    assert manifest is not None and manifest.role == name
    assert len(manifest.metrics["raw"]["per_language"]) == 45
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "## F1" in card and "CC-BY-SA" in card


def _ask(**body: Any) -> dict[str, Any]:
    async def call() -> dict[str, Any]:
        app = create_app(Settings(models=MODELS, threads=1))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                answer = await client.post("/ner", json=body)
                assert answer.status_code == 200, answer.text
                return dict(answer.json())

    return asyncio.run(call())


FIRST = [(0, 13, "PER", "Angela Merkel"), (22, 29, "ORG", "Siemens"), (33, 40, "LOC", "München")]


def _first() -> list[tuple[int, int, str, str]]:
    (result,) = _ask(text="Angela Merkel visited Siemens in München.")["results"]
    return [(entity["start"], entity["end"], entity["label"], entity["text"]) for entity in result["entities"]]


def test_the_first_request_of_the_readme_finds_all_three() -> None:
    assert _first() == FIRST


@pytest.mark.parametrize("language", sorted(SENSIBLE))
def test_nine_languages_answer_sensibly(tagger: Tagger, language: str) -> None:
    text, expected = SENSIBLE[language]
    found = {text[entity.start : entity.end]: entity.label for entity in tagger.tag(text).entities}
    assert expected.items() <= found.items(), found


@pytest.mark.parametrize("language", sorted(SENSIBLE))
def test_a_long_text_loses_nothing(tagger: Tagger, language: str) -> None:
    sentence = SENSIBLE[language][0]
    rng = random.Random(language)
    # Sentences of unlike lengths, joined as the language does, to 20,000 characters.
    glue = "" if language in ("zh", "ja") else " "
    parts: list[str] = []
    while sum(map(len, parts)) + len(glue) * len(parts) < 20_000:
        parts.append(glue.join([sentence] * rng.randint(1, 2)))
    text = glue.join(parts)
    alone = {
        (low + entity.start, low + entity.end, entity.label)
        for low, high in segments(text)
        for entity in tagger.tag(text[low:high]).entities
    }
    together = {(entity.start, entity.end, entity.label) for entity in tagger.tag(text).entities}
    assert alone and len(alone & together) >= 0.99 * len(alone)


def test_the_students_pieces_are_among_the_teachers() -> None:
    """So that the teacher could be asked about the very pieces of the student, whose vocabulary is trimmed."""
    student, teacher = (Tokenizer.from_file(str(MODELS / name / "tokenizer.json")) for name in ("student", "teacher"))
    assert set(student.get_vocab()) < set(teacher.get_vocab())
    labels = [read_manifest(MODELS / name).labels for name in ("student", "teacher")]
    assert labels[0] == labels[1]
