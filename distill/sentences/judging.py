"""What a stage's model is worth on test: STS-B in all languages and across them, Tatoeba both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distill.files import write_json
from distill.sentences.embedding import embedder
from distill.sentences.evaluation import sts_spearman, tatoeba_accuracy
from distill.sentences.languages import file_codes
from distill.sentences.materials import SentenceMaterials
from distill.sentences.model import load_encoder
from distill.sentences.splits import STS_LANGUAGES, tatoeba_languages
from onoma.bundle import sha256

SCORES = "scores.json"


def judge(materials: SentenceMaterials, folder: Path) -> dict[str, Any]:
    """The figures of `sts_spearman` and `tatoeba_accuracy` of one model, computed once.

    Tatoeba is looked at in the languages that the model was trained on.

    :return: `sts` and `tatoeba`.
    """
    known = set(tatoeba_languages())
    languages = [code for own in materials.recipe.data.languages for code in file_codes(own) if code in known]

    def build(target: Path) -> None:
        model, tokenizer = load_encoder(folder)
        embed = embedder(model.to(materials.device), tokenizer)
        figures = {
            "sts": sts_spearman(embed, split="test", languages=STS_LANGUAGES),
            "tatoeba": tatoeba_accuracy(embed, part="test", languages=languages),
        }
        write_json(target / SCORES, figures)

    facts = {"model": sha256(folder / "model.safetensors"), "languages": languages, "data": materials.data_hashes}
    found = materials.store.get("sentence-scores", facts, build)
    figures: dict[str, Any] = json.loads((found / SCORES).read_text(encoding="utf-8"))
    return figures
