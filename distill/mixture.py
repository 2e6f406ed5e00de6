"""What the bundled models are trained on: which sources, how much of each, in which form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distill.console import follow
from distill.corpora import (
    WIKIANN_45,
    as_text,
    languages_of,
    ner_path,
    read_split,
    read_text,
    sources,
    text_languages,
)
from distill.dataset import Packed, concatenate, packed_split, packed_text
from onoma.bundle import sha256

# Languages beyond WikiANN-45 whose unlabelled text joins the transfer set: those of the other labelled sources, and
# neighbours in script or family.
EXTRA_TEXT = "am ca cs gl gu hr hy km lv mk my ne nn pa sk sl sq sr sv th xh yue zu".split()


@dataclass(frozen=True, slots=True)
class Mixture:
    """Limits in sentences (lines) per language.

    WikiANN comes twice, as raw text and as joined tokens, so that both kinds of request look like training.
    """

    wikiann: int | None = None
    gold: int = 12_000
    massive: int = 1_500
    text: int = 12_000


def _training_languages(source: str) -> list[str]:
    """Languages of a source to train on, as far as the data folder has them; of WikiANN only WikiANN-45."""
    found = languages_of(source, "train")
    return [language for language in WIKIANN_45 if language in found] if source == "wikiann" else found


def labelled(mixture: Mixture, *, tokenizer_path: Path, cache: Path, joined: bool = True) -> Packed:
    """All labelled training examples; without the joined form of WikiANN if `joined` is false."""
    jobs: list[tuple[str, str, bool, int | None]] = []
    for language in _training_languages("wikiann"):
        jobs += [("wikiann", language, raw, mixture.wikiann) for raw in ((True, False) if joined else (True,))]
    for source in sources():
        if source != "wikiann":
            limit = mixture.massive if source == "massive_ner" else mixture.gold
            jobs += [(source, language, True, limit) for language in _training_languages(source)]
    parts = [
        packed_split(source, language, "train", tokenizer_path=tokenizer_path, cache=cache, raw=raw, limit=limit)
        for source, language, raw, limit in follow(jobs, "labelled data")
        if limit != 0
    ]
    return concatenate(parts)


def unlabelled(mixture: Mixture, *, tokenizer_path: Path, cache: Path) -> Packed:
    """Unlabelled lines of every language onoma cares about."""
    wanted = sorted((set(WIKIANN_45) | set(EXTRA_TEXT)) & set(text_languages()))
    return concatenate(
        [
            packed_text(language, tokenizer_path=tokenizer_path, cache=cache, limit=mixture.text)
            for language in follow(wanted, "unlabelled text")
        ]
    )


def data_hashes() -> dict[str, str]:
    """SHA-256 of every training file of the mixture, for the log and the bundle."""
    return {
        f"{source}/{language}/train": sha256(ner_path(source, language, "train"))
        for source in sources()
        for language in _training_languages(source)
    }


def tokenizer_texts(*, main_bytes: int, other_bytes: int) -> Iterator[str]:
    """Raw texts to train the tokenizer on: labelled sentences, and unlabelled lines up to a limit a language."""
    for source in sources():
        for language in languages_of(source, "train"):
            for sentence in read_split(source, language, "train")[: 2_000 if source == "massive_ner" else 20_000]:
                yield as_text(sentence, raw=True)[0]
            read_split.cache_clear()
    main = set(WIKIANN_45) | {"th", "or", "sl", "hr", "sr", "sk", "sv", "lv", "da", "nn", "zu", "xh", "cs", "ca"}
    for language in text_languages():
        room = main_bytes if language in main else other_bytes
        for line in read_text(language):
            room -= len(line.encode())
            if room < 0:
                break
            yield line
