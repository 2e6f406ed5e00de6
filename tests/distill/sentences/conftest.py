from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distill.sentences.parallel import _news, _utterances
from distill.sentences.splits import reserved
from tests.distill.sentences.toy_recipe import content, write_toy


@pytest.fixture(scope="session")
def toy_similarity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("similarity")
    write_toy(root)
    return root


@pytest.fixture
def similarity(toy_similarity: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The small similarity data, as ONOMA_DATA."""
    monkeypatch.setenv("ONOMA_DATA", str(toy_similarity))
    caches = (reserved, _news, _utterances)
    for cache in caches:
        cache.cache_clear()
    yield toy_similarity
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def toy_recipe(similarity: Path, tmp_path: Path) -> dict[str, Any]:
    """The keys of a small recipe, with its teacher and tokenizer."""
    return content(tmp_path)
