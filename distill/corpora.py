"""Corpora: labelled sentences from CoNLL files and unlabelled lines, as ../shared/data lays them out."""

from __future__ import annotations

import lzma
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from onoma.text import detokenise, join_tokens

# Dev/test-only sources and sources whose guidelines differ too much are left out of training by the recipes.
WIKIANN_45 = (
    "af ar az be bg bn da de el en es et eu fa fi fr he hi hu id is it ja ka kk ko lt ml mr ms nl no pl pt ro ru sw "
    "ta te tl tr uk ur vi zh"
).split()
ENTITY_TYPES = ("PER", "ORG", "LOC")
WIKIANN, MASSIVE = "wikiann", "massive_ner"
SPLITS = ("train", "dev", "test")
MAX_TYPES = 63  # packed tags are int8


@dataclass(frozen=True, slots=True)
class Sentence:
    """A labelled sentence: tokens and their IOB2 tags; those of types that nobody asked for have become O."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    language: str
    source: str

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two sentences the same when train and test are compared: the tokens."""
        return self.tokens


def data_root() -> Path:
    """The data folder: `ONOMA_DATA`, or ../shared/data beside the checkout."""
    root = Path(os.environ.get("ONOMA_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not root.is_dir():
        raise FileNotFoundError(f"no data at {root}: set ONOMA_DATA to the folder that holds ner/ and text/")
    return root


def source_folder(source: str) -> Path:
    """Folder of a labelled source: below ner/, or, where the name has a slash (`pos/ud`), below the data folder."""
    return data_root() / source if "/" in source else data_root() / "ner" / source


def source_title(source: str) -> str:
    """The name of a source in reports and cards."""
    return "WikiANN" if source == WIKIANN else source


def check_source(source: str) -> str:
    """The name of a source, if it is one.

    :raises ValueError: if it leads out of the data folder.
    """
    if any(part in ("", ".", "..") for part in source.split("/")):
        raise ValueError(f"a source is a folder below ner/, or a path below the data folder, got {source!r}")
    return source


def check_types(types: tuple[str, ...]) -> tuple[str, ...]:
    """The types, if they can be tagged.

    :raises ValueError: if there is none, too many, one twice, or one that is empty or has a space.
    """
    if not 1 <= len(types) <= MAX_TYPES or len(set(types)) < len(types):
        raise ValueError(f"types must be 1 to {MAX_TYPES}, all different, got {list(types)}")
    if unfit := [name for name in types if name.split() != [name]]:
        raise ValueError(f"types must be words without spaces, got {unfit}")
    return types


def split_path(source: str, language: str, split: str) -> Path:
    """Path of one labelled split."""
    return source_folder(source) / language / f"{split}.conll.xz"


def languages_of(source: str, split: str) -> list[str]:
    """Languages for which `source` has `split`, sorted."""
    return sorted(path.parent.name for path in source_folder(source).glob(f"*/{split}.conll.xz"))


def training_languages(source: str) -> list[str]:
    """Languages of a source to train on, as far as the data folder has them; of WikiANN only WikiANN-45."""
    found = languages_of(source, "train")
    return [language for language in WIKIANN_45 if language in found] if source == WIKIANN else found


def judged_languages(source: str) -> list[str]:
    """Languages to judge a student of `source` on: WikiANN-45; of another source those that it has in all splits."""
    if source == WIKIANN:
        return list(WIKIANN_45)
    return sorted(set.intersection(*(set(languages_of(source, split)) for split in SPLITS)))


def sources() -> list[str]:
    """Names of the labelled sources below ner/, sorted."""
    return sorted(path.name for path in (data_root() / "ner").iterdir() if path.is_dir())


def _clean(tags: list[str], types: Sequence[str]) -> tuple[str, ...]:
    """Map types outside `types` to O and repair an I- that follows nothing of its type."""
    cleaned: list[str] = []
    before = "O"
    for tag in tags:
        if tag[2:] not in types:
            tag = "O"
        elif tag.startswith("I-") and before[2:] != tag[2:]:
            tag = "B-" + tag[2:]
        cleaned.append(tag)
        before = tag
    return tuple(cleaned)


def parse_conll(
    lines: Iterator[str], *, language: str, source: str, types: Sequence[str] = ENTITY_TYPES
) -> Iterator[Sentence]:
    """Parse `token<TAB>tag` lines with a blank line after each sentence."""
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\n")
        if line:
            token, tab, tag = line.rpartition("\t")
            if not tab:
                raise ValueError(f"{source}/{language} line {number}: no tab in {line!r}")
            tokens.append(token)
            tags.append(tag)
        elif tokens:
            yield Sentence(tuple(tokens), _clean(tags, types), language, source)
            tokens, tags = [], []
    if tokens:
        yield Sentence(tuple(tokens), _clean(tags, types), language, source)


@lru_cache(maxsize=512)
def read_split(
    source: str, language: str, split: str, *, types: tuple[str, ...] = ENTITY_TYPES
) -> tuple[Sentence, ...]:
    """All sentences of one split, tagged with `types`; empty if the source lacks it."""
    path = split_path(source, language, split)
    if not path.exists():
        return ()
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        return tuple(parse_conll(iter(lines), language=language, source=source, types=types))


def text_path(language: str) -> Path:
    """The file of one language's unlabelled lines."""
    return data_root() / "text" / f"{language}.txt.xz"


def read_text(language: str, limit: int | None = None) -> Iterator[str]:
    """Unlabelled lines of one language, at most `limit`."""
    path = text_path(language)
    if not path.exists():
        return
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines):
            if limit is not None and number >= limit:
                return
            line = line.strip()
            if line:
                yield line


def text_languages() -> list[str]:
    """Languages with unlabelled text, sorted."""
    return sorted(path.name.removesuffix(".txt.xz") for path in (data_root() / "text").glob("*.txt.xz"))


def token_spans(tags: tuple[str, ...]) -> list[tuple[int, int, str]]:
    """Entities of an IOB2 tag sequence as (first token, past the last token, type)."""
    spans: list[tuple[int, int, str]] = []
    start = -1
    for index, tag in enumerate((*tags, "O")):
        if start >= 0 and not tag.startswith("I-"):
            spans.append((start, index, tags[start][2:]))
            start = -1
        if tag.startswith("B-"):
            start = index
    return spans


def as_text(sentence: Sentence, *, raw: bool) -> tuple[str, list[tuple[int, int, str]]]:
    """The sentence as text with its entities as code-point spans.

    `raw` detokenises by the language's habits (what a request carries); otherwise tokens are joined as the service
    joins a `tokens` request. Entities that vanish (only spaces) are dropped.
    """
    if raw:
        text, spans = detokenise(sentence.tokens, sentence.language)
    else:
        text, spans = join_tokens(sentence.tokens)
    entities = []
    for first, last, label in token_spans(sentence.tags):
        start, end = spans[first][0], spans[last - 1][1]
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if start < end:
            entities.append((start, end, label))
    return text, entities
