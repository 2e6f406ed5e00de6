"""What the bundled models are trained on: which sources, how much of each, in which form."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from distill.console import follow
from distill.corpora import (
    ENTITY_TYPES,
    MASSIVE,
    WIKIANN,
    WIKIANN_45,
    as_text,
    languages_of,
    read_split,
    read_text,
    sources,
    split_path,
    text_languages,
    training_languages,
)
from distill.dataset import Packed, concatenate, packed_split, packed_text
from distill.gazetteer import packed_gazetteer
from distill.joining import join_examples
from distill.mentions import latin_pieces, replace_mentions
from onoma.bundle import sha256
from onoma.labels import LabelSet

# Languages beyond WikiANN-45 whose unlabelled text joins the transfer set: those of the other labelled sources, and
# neighbours in script or family.
EXTRA_TEXT = "am ca cs gl gu hr hy km lv mk my ne nn pa sk sl sq sr sv th xh yue zu".split()

# As the sources' repositories state them; they go into the model cards.
LICENCES = {
    "wikiann": "text: Wikipedia, CC BY-SA",
    "massive_ner": "CC BY 4.0",
    "nchlt": "CC BY 2.5 ZA",
    "il_ner": "CC BY 4.0",
    "turku_ner": "CC BY-SA 4.0",
    "turkish_wikiner": "CC BY-SA 4.0",
    "fullstack_lv": "CC BY-SA 4.0",
    "thai_ner": "CC BY 3.0",
    "nergrit": "MIT",
    "nerp": "MIT",
    "bengali_ner_rifat": "MIT",
    "stockmark": "CC BY-SA 3.0",
    "wnut17": "CC BY 4.0",
    **{f"uner_{name}": "CC BY-SA 4.0" for name in "bosque ddt gsdsimp ndt set snk talbanken".split()},
}
TEXT_SOURCES = (
    "Common Voice (CC0), Universal Dependencies, NTREX-128, FLORES-200, Tatoeba, Leipzig and others; "
    "CC0, CC BY, CC BY-SA, MIT, public domain"
)
# Smaller WikiANN languages are repeated up to about this many examples.
BALANCED_SIZE = 10_000


@dataclass(frozen=True, slots=True)
class Mixture:
    """Limits in sentences (lines) per language, and how small languages are balanced.

    `types` are tagged, all others are O. `wikiann`, `balance` and `joined` are about the main source, `source`.
    Text is raw: spaces never reach the model, so joined tokens give nearly the same pieces. Only the character tokens
    of the languages in `joined` come out differently, and come in both forms. A WikiANN language with fewer than 10,000
    sentences is repeated up to that size, at most `balance` times; the gold sources (all but WikiANN and MASSIVE) are
    repeated `gold_times`, for they are what users' texts look like. In a share of `mentions` of the labelled examples
    entities change places, also with the names in the file `gazetteer` (see distill.mentions, distill.gazetteer); a
    share of `together` is put together (see distill.joining). `languages` leaves out all others; `texts` keeps the
    texts, for a teacher with another vocabulary.
    """

    wikiann: int | None = None
    gold: int = 12_000
    gold_times: int = 1
    massive: int = 1_500
    text: int = 12_000
    balance: int = 4
    joined: tuple[str, ...] = ("ja", "zh")
    mentions: float = 0.0
    gazetteer: str | None = None
    together: float = 0.3
    languages: tuple[str, ...] = ()
    texts: bool = False
    types: tuple[str, ...] = ENTITY_TYPES
    source: str = WIKIANN

    def __post_init__(self) -> None:
        if self.texts and self.mentions:
            raise ValueError(f"replaced mentions have no text: with texts, mentions must be 0, got {self.mentions}")
        if self.gazetteer is not None and not self.mentions:
            raise ValueError(f"gazetteer {self.gazetteer} has no effect without mentions above 0, got {self.mentions}")


def _limit(mixture: Mixture, source: str) -> int | None:
    """Sentences of each language to take from a source; WikiANN, which is not gold, is the main source or left out."""
    if source == mixture.source:
        return mixture.wikiann
    if source == WIKIANN:
        return 0
    return mixture.massive if source == MASSIVE else mixture.gold


def _used(mixture: Mixture) -> dict[str, list[str]]:
    """The languages of each source that the mixture takes sentences from."""
    found = {}
    # A source outside of ner/ stands alone: the others are tagged for another task.
    for source in [mixture.source] if "/" in mixture.source else sources():
        languages = [one for one in training_languages(source) if not mixture.languages or one in mixture.languages]
        if languages and _limit(mixture, source) != 0:
            found[source] = languages
    return found


def labelled(mixture: Mixture, *, tokenizer_path: Path, cache: Path) -> Packed:
    """All labelled training examples."""
    jobs: list[tuple[str, str, int | None, bool]] = []
    for source, languages in _used(mixture).items():
        for language in languages:
            jobs.append((source, language, _limit(mixture, source), True))
            if source == mixture.source and language in mixture.joined:
                jobs.append((source, language, _limit(mixture, source), False))
    # The main source first, then the others in order.
    jobs.sort(key=lambda job: job[0] != mixture.source)
    parts: list[Packed] = []
    for source, language, limit, raw in follow(jobs, "labelled data"):
        part = packed_split(
            source,
            language,
            "train",
            tokenizer_path=tokenizer_path,
            cache=cache,
            raw=raw,
            limit=limit,
            texts=mixture.texts,
            types=mixture.types,
        )
        times = 1
        if source == mixture.source:
            times = min(mixture.balance, -(-BALANCED_SIZE // max(1, len(part))))
        elif source != MASSIVE:
            times = mixture.gold_times
        parts += [part] * max(1, times)
    data = concatenate(parts)
    if mixture.mentions:
        latin = latin_pieces(Tokenizer.from_file(str(tokenizer_path)))
        names = None
        if mixture.gazetteer is not None:
            path = Path(mixture.gazetteer)
            names = packed_gazetteer(path, tokenizer_path=tokenizer_path, types=mixture.types)
        labels = LabelSet.of_types(mixture.types)
        data = replace_mentions(data, latin=latin, share=mixture.mentions, names=names, labels=labels)
    return join_examples(data, share=mixture.together)


def unlabelled(mixture: Mixture, *, tokenizer_path: Path, cache: Path) -> Packed:
    """Unlabelled lines of every language onoma cares about; with another main source, of those that it has."""
    known = (*WIKIANN_45, *EXTRA_TEXT) if mixture.source == WIKIANN else training_languages(mixture.source)
    wanted = sorted(set(mixture.languages or known) & set(text_languages()))
    lines = [
        packed_text(language, tokenizer_path=tokenizer_path, cache=cache, limit=mixture.text, texts=mixture.texts)
        for language in follow(wanted, "unlabelled text")
    ]
    return join_examples(concatenate(lines), share=mixture.together)


def data_hashes(*mixtures: Mixture) -> dict[str, str]:
    """For each labelled source that is used, the SHA-256 over the hashes of its training files, for log and bundle."""
    files: dict[str, dict[str, str]] = {}
    found = {}
    for mixture in mixtures:
        if mixture.gazetteer is not None:
            found["gazetteer"] = sha256(Path(mixture.gazetteer))
        for source, languages in _used(mixture).items():
            own = files.setdefault(source, {})
            own.update({language: sha256(split_path(source, language, "train")) for language in languages})
    for source, hashes in sorted(files.items()):
        found[source] = hashlib.sha256("".join(hashes[language] for language in sorted(hashes)).encode()).hexdigest()
    return found


def data_licences(*mixtures: Mixture) -> dict[str, str]:
    """Licence of each labelled source that is used."""
    used = sorted({source for mixture in mixtures for source in _used(mixture)})
    return {source: LICENCES.get(source, "not stated") for source in used}


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
