"""A small data folder in the layout of ../shared/data, made of sentences of a few patterns, and tiny packed data."""

from __future__ import annotations

import json
import lzma
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import Tensor, nn

from distill.batches import Batch
from distill.corpora import read_split
from distill.dataset import Packed
from distill.losses import label_loss
from distill.sentences.recipe import is_sentence_recipe
from distill.students import WEIGHTS_FILE
from distill.studies import RESULTS, Place, run_recipe
from distill.training import LossFunction
from distill.transfer import JointLoss

COMMITTED = sorted(
    path
    for path in (Path(__file__).resolve().parents[2] / "distill/recipes").rglob("*.toml")
    if not is_sentence_recipe(path)  # these have tests of their own
)

NAMES = {
    "en": {
        "PER": ("Ada Byron", "Omar", "Lin Mara", "Tove", "Igor Sand"),
        "ORG": ("Nordbank", "Acme Works", "Radio Kvant", "Velo Club"),
        "LOC": ("Port Alto", "Brenholm", "Lake Sira", "Dunmore"),
    },
    "de": {
        "PER": ("Jutta Holm", "Emil", "Karla Voss", "Uwe"),
        "ORG": ("Nordbank", "Werft AG", "Radio Kvant", "Bund"),
        "LOC": ("Brenholm", "Bad Sulz", "Elbtal", "Köpen"),
    },
    "ru": {
        "PER": ("Анна Лис", "Олег", "Вера Мох", "Ян"),
        "ORG": ("Нордбанк", "Завод Искра", "Радио Квант", "Клуб"),
        "LOC": ("Бренхольм", "Порт Альто", "Дунмор", "Сира"),
    },
}
PATTERNS = {
    "en": ("PER works for ORG in LOC .", "the river near LOC is old .", "ORG hired PER ( 1805 ) .", "PER , of LOC"),
    "de": ("PER arbeitet bei ORG in LOC .", "der Fluss bei LOC ist alt .", "ORG holte PER ( 1805 ) .", "PER , aus LOC"),
    "ru": ("PER работает в ORG в LOC .", "река у LOC старая .", "ORG нанял PER ( 1805 ) .", "PER , из LOC , ушёл"),
}
Tagged = tuple[list[str], list[str]]


def sentences(language: str, count: int, seed: int) -> list[Tagged]:
    """Sentences of tokens and tags."""
    source = random.Random(f"{language} {seed}")
    made = []
    for _ in range(count):
        tokens: list[str] = []
        tags: list[str] = []
        for word in source.choice(PATTERNS[language]).split():
            if word in NAMES[language]:
                name = source.choice(NAMES[language][word]).split()
                tokens += name
                tags += ["B-" + word] + ["I-" + word] * (len(name) - 1)
            else:
                tokens.append(word)
                tags.append("O")
        made.append((tokens, tags))
    return made


def write_conll(path: Path, content: Iterable[tuple[Sequence[str], Sequence[str]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8", newline="\n", preset=0) as file:
        for tokens, tags in content:
            file.writelines(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))
            file.write("\n")


def write_text(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8", newline="\n", preset=0) as file:
        file.writelines(line + "\n" for line in lines)


def write_data(root: Path) -> None:
    """WikiANN in three languages, one gold source with MISC, unlabelled text."""
    for at, language in enumerate(NAMES):
        for split, count in (("train", 160), ("dev", 40), ("test", 40)):
            made = sentences(language, count, seed=len(split) + at)
            write_conll(root / "ner" / "wikiann" / language / f"{split}.conll.xz", made)
        lines = [" ".join(tokens) for tokens, _ in sentences(language, 120, seed=99)]
        write_text(root / "text" / f"{language}.txt.xz", lines)
    gold = [(["Omar", "read", "Hamlet", "."], ["B-PER", "O", "B-MISC", "O"])] * 30
    write_conll(root / "ner" / "goldsource" / "en" / "train.conll.xz", gold)


POS = "pos/ud"
# A few words of each tag; Manx and Zulu are no languages of WikiANN-45.
WORDS = {
    "de": {"DET": ("der", "ein"), "ADJ": ("alt", "neu"), "NOUN": ("Fluss", "Bund", "Klub"), "VERB": ("ruht", "holt")},
    "en": {"DET": ("the", "a"), "ADJ": ("old", "new"), "NOUN": ("river", "bank", "works"), "VERB": ("hired", "left")},
    "gv": {"DET": ("yn", "ny"), "ADJ": ("shenn", "noa"), "NOUN": ("awin", "thie", "lioar"), "VERB": ("haink", "hie")},
    "zu": {"DET": ("lo", "le"), "ADJ": ("dala", "sha"), "NOUN": ("umfula", "indlu"), "VERB": ("uhamba", "bathi")},
}
ORDERS = ("DET NOUN VERB", "DET ADJ NOUN VERB", "NOUN VERB DET NOUN", "VERB DET ADJ NOUN")


def tagged_words(language: str, count: int, seed: int) -> list[Tagged]:
    """Sentences whose words are spans of one token each, with a full stop."""
    source = random.Random(f"{language} {seed}")
    made = []
    for _ in range(count):
        order = source.choice(ORDERS).split()
        tokens = [source.choice(WORDS[language][tag]) for tag in order]
        made.append(([*tokens, "."], [f"B-{tag}" for tag in (*order, "PUNCT")]))
    return made


def write_pos(root: Path) -> None:
    """Parts of speech in four languages, of which Zulu has no test split; lines of text in Manx."""
    for language in WORDS:
        for split, count in (("train", 80), ("dev", 12), ("test", 12)):
            if (language, split) != ("zu", "test"):
                made = tagged_words(language, count, seed=len(split))
                write_conll(root / POS / language / f"{split}.conll.xz", made)
    write_text(root / "text" / "gv.txt.xz", [" ".join(tokens) for tokens, _ in tagged_words("gv", 30, seed=9)])


def random_packed(
    lengths: Sequence[int], *, vocabulary: int = 40, seed: int = 0, languages: Sequence[str] = ("en",)
) -> Packed:
    """Examples of given lengths; a piece's tag is its id modulo 7, so that a model can learn it."""
    source = np.random.default_rng(seed)
    ids = source.integers(3, vocabulary, sum(lengths)).astype(np.uint16)
    return Packed(
        ids,
        (ids % 7).astype(np.int8),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        (np.arange(len(lengths)) % len(languages)).astype(np.int16),
        tuple(languages),
    )


class Killed(Exception):
    """Where a real run would be killed."""


def killing_loss(stop_at: int | None) -> LossFunction:
    """The loss on labels; in the `stop_at`-th step the run is killed."""
    steps = 0

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == stop_at:
            raise Killed
        return label_loss(model(batch.ids, batch.mask), batch.tags)

    return loss


class Breaking:
    """A function that breaks off at its n-th call; calls of a loss outside of training do not count."""

    def __init__(self, original: Any, nth: int) -> None:
        self.original, self.nth, self.calls = original, nth, 0

    def __get__(self, owner: object, _: type) -> Any:  # bound like a method where it stands in for one
        return partial(self, owner)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += not isinstance(arguments[0], JointLoss) or arguments[1].training
        if self.calls == self.nth:
            raise Killed
        return self.original(*arguments, **options)


def write_recipe(path: Path, content: dict[str, Any]) -> Path:
    """A recipe as TOML: tables of plain values, and `variants`."""
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    lines = [f"{key} = {_toml(value)}" for key, value in content.items() if key not in (*tables, "variants")]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    for variant in content.get("variants", ()):
        lines += ["[[variants]]", *(f"{key} = {_toml(value)}" for key, value in variant.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


class Toy:
    """A recipe on small data, its store and its cache."""

    def __init__(self, root: Path, content: dict[str, Any]) -> None:
        self.root, self.content = root, content
        self.place = Place(root / "store", root / "cache", "cpu")

    def write(self, changes: dict[str, Any]) -> Path:
        """The recipe with changes, named by their dotted paths."""
        content = json.loads(json.dumps(self.content))
        for path, value in changes.items():
            *tables, key = path.split(".")
            (content.setdefault(tables[0], {}) if tables else content)[key] = value
        return write_recipe(self.root / "recipe.toml", content)

    def run(self, changes: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """The results; `new` counts the artefacts that it made for students, by kind."""
        before = self.artefacts()
        path = self.write(changes or {})
        read_split.cache_clear()
        results = run_recipe(path, out=self.root / "out", place=options.pop("place", self.place), **options)
        new = Counter(name.partition("-")[0] for name in self.artefacts() - before)
        del new["teacher"]  # its scores
        return results | {"new": dict(new)}

    def artefacts(self) -> set[str]:
        """Names of all artefacts, finished or not."""
        return {path.name for path in self.place.store.glob("*-*")}

    def weights(self, run: dict[str, Any]) -> dict[str, Tensor]:
        """Of the finished student."""
        return load_file(self.place.store / run["student"] / WEIGHTS_FILE)

    def results(self) -> dict[str, Any]:
        """What stands in results.json."""
        return dict(json.loads((self.root / "out" / RESULTS).read_text(encoding="utf-8")))


def told(run: dict[str, Any]) -> dict[str, Any]:
    """What a run found, without how long it took and what it could reuse."""
    steps = [{key: value for key, value in step.items() if key != "minutes"} for step in run["steps"]]
    return {key: value for key, value in run.items() if key not in ("made", "reused")} | {"steps": steps}
