"""The encoder in models/encoder: translations are found among unrelated sentences, in many languages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from onoma import Embedder
from onoma.embedder import cosine
from service.app import create_app
from service.settings import Settings

MODELS = Path(__file__).resolve().parents[1] / "models"
LIMIT = 12_000_000

ENGLISH = (
    "The cat is sleeping on the sofa.",
    "It will rain tomorrow in the north.",
    "The children are eating red apples.",
    "Where can I buy a train ticket?",
)
# Written for this test, in the order of the English: a language and its four sentences a line.
LINES = (Path(__file__).with_name("translations.tsv")).read_text(encoding="utf-8").splitlines()
TRANSLATIONS = {language: tuple(own) for language, *own in (line.split("\t") for line in LINES)}


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder.load(MODELS / "encoder", threads=1)


def test_the_bundle_is_small_enough_and_says_what_it_is(embedder: Embedder) -> None:
    folder = MODELS / "encoder"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= LIMIT
    manifest = embedder.manifest
    assert manifest is not None and manifest.role == "encoder" and len(manifest.languages) == 72
    assert len(manifest.metrics["sts"]["per_language"]) == 11 and manifest.metrics["tatoeba"]["per_language"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "CC-BY-SA" in card and "STS-B" in card


def _post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    async def call() -> dict[str, Any]:
        app = create_app(Settings(models=MODELS, threads=1))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                answer = await client.post(path, json=body)
                assert answer.status_code == 200, answer.text
                return dict(answer.json())

    return asyncio.run(call())


def test_translations_score_above_unrelated_sentences() -> None:
    pairs = [(one, english) for own in TRANSLATIONS.values() for one in own for english in ENGLISH]
    scores = np.array(_post("/similarity", {"pairs": pairs})["scores"]).reshape(len(TRANSLATIONS), 4, 4)
    own = scores[:, range(4), range(4)]
    # Each sentence of a language is nearer to its translation than to any of the others.
    sound = (own > np.where(np.eye(4, dtype=bool), -1, scores).max(axis=2)).all(axis=1)
    found = [language for language, right in zip(TRANSLATIONS, sound, strict=True) if right]
    assert len(found) >= 20, f"only in {found}"
    assert {"de", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh"} <= set(found)


def test_the_service_gives_the_vectors_of_the_library(embedder: Embedder) -> None:
    texts = [ENGLISH[0], TRANSLATIONS["de"][0], ""]
    served = np.array(_post("/embed", {"texts": texts})["embeddings"])
    np.testing.assert_allclose(served, embedder.embed(texts), atol=1e-4)
    assert cosine(served[0], served[1]) > 0.6 and not served[2].any()
