"""What the stages of one recipe share: the pool, the teacher, its vectors, and where things are kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill.sentences.embedding import embedder
from distill.sentences.evaluation import sts_spearman
from distill.sentences.model import SentenceEncoder, load_tokenizer, vocabulary_of
from distill.sentences.pool import Pool, load_pool, make_pool, pool_facts
from distill.sentences.recipe import SentenceRecipe
from distill.sentences.teacher import SentenceTeacher, load_teacher, teacher_vectors
from distill.store import Store
from onoma.word_table import WordTable


@dataclass(frozen=True)
class SentenceMaterials:
    """Everything is made when it is first asked for, and kept."""

    recipe: SentenceRecipe
    store: Store
    cache: Path
    device: torch.device

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer's file."""
        return Path(self.recipe.tokenizer)

    @cached_property
    def tokenizer(self) -> Tokenizer | WordTable:
        """The student's tokenizer, with its table of words if the recipe has one."""
        return load_tokenizer(self.tokenizer_path, self.words_path)

    @property
    def words_path(self) -> Path | None:
        """The file of the table of words."""
        return None if self.recipe.words is None else Path(self.recipe.words)

    @property
    def vocabulary(self) -> int:
        """How many embeddings there are."""
        return vocabulary_of(self.tokenizer)

    @cached_property
    def pool_folder(self) -> Path:
        """The folder of the pool; its name is its hash."""
        data = self.recipe.data
        about: dict[str, Any] = {
            "tokenizer": self.tokenizer_path,
            "words": self.words_path,
            "languages": data.languages,
            "english_lines": data.english_lines,
            "text_lines": data.lines,
            "annotations": data.annotations_path,
            "dictionaries": data.dictionaries_path,
        }
        return self.store.get("sentence-pool", pool_facts(**about), lambda folder: make_pool(folder, **about))

    @cached_property
    def pool(self) -> Pool:
        """All that there is to learn from."""
        return load_pool(self.pool_folder)

    @cached_property
    def teacher(self) -> SentenceTeacher:
        """The English teacher."""
        own = self.recipe.teacher
        return load_teacher(own.path, normalise=own.normalise, device=self.device)

    @cached_property
    def data_hashes(self) -> dict[str, str]:
        """SHA-256 of each source of the data."""
        return self.recipe.data.hashes()

    def teacher_vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """(M, H) its vectors of the pool's English sentences; only these rows are asked for, others are zero."""
        needed = np.unique(rows)
        found = teacher_vectors(self.teacher, [self.pool.originals[row] for row in needed], cache=self.cache)
        table = np.zeros((len(self.pool.originals), found.shape[1]), dtype=np.float16)
        table[needed] = found
        return table

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Dev scores of a model: `score` is the mean of `mono` and `cross` (English with the others)."""
        assert isinstance(model, SentenceEncoder)
        own = self.recipe.evaluation
        found = sts_spearman(
            embedder(model, self.tokenizer), split="train", languages=own.languages, limit=own.rows
        )
        mono, cross = float(found["mean"]), float(found["cross"].get("english", found["cross"]["mean"]))
        return {"score": round((mono + cross) / 2, 2), "mono": mono, "cross": cross, **_each(found)}


def _each(found: dict[str, Any]) -> dict[str, float]:
    with_english = {f"en-{name}": value for name, value in found["cross"].get("with_english", {}).items()}
    return {**found["per_language"], **with_english}
