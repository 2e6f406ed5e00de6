"""Apps for the tests that search: with fakes that no word harms, and with the models in models/.

Either comes with windows so small, too, that most texts cross some.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fakes import VOCABULARY, FakeModel, FakeSentenceModel, make_embedder, make_tagger
from fastapi import FastAPI
from tokenizers import Tokenizer

from onoma import Tagger
from onoma.bundle import TOKENIZER_FILE
from onoma.encoding import Encoder
from service.app import create_app
from service.settings import Settings

MODELS = Path(__file__).resolve().parents[2] / "models"
NAMES = ("student", "teacher")


class CalmModel(FakeModel):
    """A fake that `boom` and `kill` do nothing to: Hypothesis finds these words in the sources, and tries them."""

    def infer(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        harmful = [VOCABULARY[word] for word in ("boom", "kill")]
        return super().infer([np.where(np.isin(ids, harmful), VOCABULARY["[UNK]"], ids) for ids in inputs])


class CalmSentenceModel(FakeSentenceModel, CalmModel):
    """A sentence encoder that they do nothing to either."""


def calm_taggers(*, limit: int = 16) -> dict[str, Tagger]:
    """A student that is unsure of some words and a teacher that never is."""
    return {name: make_tagger(CalmModel(sure=name == "teacher"), limit=limit) for name in NAMES}


def bundled_taggers(*, limit: int | None = None) -> dict[str, Tagger]:
    """The models of models/, on one thread each.

    :param limit: most pieces in a window; None for the models' own.
    """
    taggers = {name: Tagger.load(MODELS / name, threads=1) for name in NAMES}
    for name, tagger in taggers.items():
        if limit is not None:
            tokenizer = Tokenizer.from_file(str(MODELS / name / TOKENIZER_FILE))
            tagger.encoder = Encoder(tokenizer, facts=tagger.encoder.facts, limit=limit, overlap=limit // 2)
    return taggers


KINDS = {
    "fake": calm_taggers,
    "fake, tiny windows": lambda: calm_taggers(limit=5),
    "bundled": bundled_taggers,
    "bundled, tiny windows": lambda: bundled_taggers(limit=6),
}


def make_app(kind: str = "fake", **settings: object) -> FastAPI:
    """An app of one of KINDS, with a fake sentence encoder; keywords are settings."""
    encoder = make_embedder(CalmSentenceModel(), limit=5)
    return create_app(Settings(**settings), models={**KINDS[kind](), "encoder": encoder})
