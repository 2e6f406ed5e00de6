from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))  # for `import toydata`

from toydata import Toy, write_data

from distill.corpora import read_split
from distill.mixture import tokenizer_texts
from distill.teachers import TeacherConfig, build_teacher, save_teacher
from distill.tokenizer import save_tokenizer, train_tokenizer


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are slower on many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_data(root)
    return root


@pytest.fixture
def data(toy_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The small data folder, as ONOMA_DATA."""
    monkeypatch.setenv("ONOMA_DATA", str(toy_root))
    read_split.cache_clear()
    yield toy_root
    read_split.cache_clear()


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data folder to fill, as ONOMA_DATA."""
    root = tmp_path / "own data"
    (root / "ner").mkdir(parents=True)
    (root / "text").mkdir()
    monkeypatch.setenv("ONOMA_DATA", str(root))
    read_split.cache_clear()
    yield root
    read_split.cache_clear()


@pytest.fixture(scope="session")
def toy_tokenizer(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tokenizer.json of a few hundred pieces trained on the small data folder."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONOMA_DATA", str(toy_root))
        read_split.cache_clear()
        texts = list(tokenizer_texts(main_bytes=20_000, other_bytes=1_000))
    read_split.cache_clear()
    save_tokenizer(train_tokenizer(texts, vocabulary=400, progress=False), path)
    return path


@pytest.fixture
def tokenizer(toy_tokenizer: Path) -> Tokenizer:
    return Tokenizer.from_file(str(toy_tokenizer))


@pytest.fixture(scope="session")
def toy_teacher(toy_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face checkpoint with the toy tokenizer and random weights: enough to be imitated."""
    tokenizer = Tokenizer.from_file(str(toy_tokenizer))
    torch.manual_seed(3)
    shape = TeacherConfig(architecture="bert", layers=2, hidden=12, heads=2, intermediate=16, max_length=256)
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    save_teacher(build_teacher(shape, vocabulary=tokenizer.get_vocab_size()), tokenizer, folder)
    return folder


@pytest.fixture
def toy(data: Path, toy_tokenizer: Path, toy_teacher: Path, tmp_path: Path) -> Toy:
    """A recipe that runs in half a second."""
    schedule = {"strategy": "D4.1", "representation": 600, "logits": 900, "labels": 600, "batch": 128, "checks": 2}
    content = {
        "name": "toy",
        "tokenizer": str(toy_tokenizer),
        "labels": {"languages": ["de", "en"], "wikiann": 20},
        "transfer": {"wikiann": 40, "text": 20},
        "teacher": {"path": str(toy_teacher), "layer": 1},
        "student": {"embedding": 6, "hidden": 5},
        "schedule": schedule | {"checkpoint_minutes": 0, "rate": 0.02},
        "evaluation": {"dev": 10, "test": 10},
    }
    return Toy(tmp_path, content)
