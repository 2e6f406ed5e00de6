"""A recipe of a sentence encoder so small that all of its stages run in a second, with the data that it needs."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from distill.files import write_json
from distill.sentences.naming import Quotas
from distill.sentences.parallel import encoder_texts
from distill.sentences.splits import folded, part_of
from distill.sentences.start import NAMES_FILE
from distill.sentences.teacher import word_pieces
from distill.sentences.vocabulary import words_vocabulary
from distill.tokenizer import save_tokenizer, train_tokenizer
from onoma.word_table import WORDS_FILE
from tests.encoders import save_sentence_transformer
from tests.similarity import sentence, write_similarity

LANGUAGES = ("de", "en", "fr")
WAYS = [(thing, deed) for thing in range(10) for deed in range(8)]


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def long(language: str, thing: int, deed: int) -> str:
    """A sentence that Tatoeba and STS-B lack."""
    return f"{sentence(language, thing, deed)} {sentence(language, thing + 1, deed + 3)}"


def write_toy(root: Path) -> None:
    """STS-B and Tatoeba, three languages of news, MASSIVE and text."""
    write_similarity(root)
    similarity = root / "similarity"
    for language, code in (("en", "eng"), ("en", "eng-GB"), ("de", "deu"), ("fr", "fra")):
        lines = [long(language, *pair) + ("" if code != "eng-GB" else " too") for pair in WAYS[:30]]
        write_lines(similarity / f"ntrex128/{code}.txt.xz", lines)
    for language in LANGUAGES:
        rows = [f"{at}\ttrain\t{long(language, *pair)} ." for at, pair in enumerate(WAYS)]
        write_lines(similarity / f"massive/{language}.tsv.xz", ["id\tpartition\tutt", *rows])
        write_lines(root / f"text/{language}.txt.xz", [f"{long(language, *pair)} !" for pair in WAYS])


def content(folder: Path) -> dict[str, Any]:
    """The recipe's keys; makes its teacher and its tokenizer in `folder`. Needs the data to be in ONOMA_DATA."""
    save_sentence_transformer(folder / "teacher", modules=("Normalize",))
    texts = list(encoder_texts(languages=LANGUAGES, text_bytes=10_000, other_bytes=10_000)) * 3
    tokenizer = train_tokenizer(texts, vocabulary=130, progress=False, lowercase=True, fold_digits=False)
    save_tokenizer(tokenizer, folder / "tokenizer.json")
    return {
        "kind": "sentence-encoder",
        "name": "toy",
        "tokenizer": str(folder / "tokenizer.json"),
        "data": {"languages": list(LANGUAGES), "english_lines": 20, "text_lines": 30, "focus": ["de"]},
        "teacher": {"path": str(folder / "teacher")},
        "start": {"width": 8, "epochs": 1, "pairs": 2000, "align": 600, "rare": 2},
        "assistant": {"frozen": 400, "pieces": 400},
        "bottleneck": {"embedding": 6, "pieces": 400},
        "recurrent": {"layers": [0, 1], "repeats": 2, "pieces": 400},
        "contrastive": {"pieces": 400},
        "schedule": {"batch": 100, "shallow_batch": 200, "checks": 1},
        "evaluation": {"languages": ["en", "de"], "rows": 12},
    }


def add_words(toy: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same recipe with dictionaries, a table of words, and a start from these."""
    pairs = [f"de\tde{word}\ten\t{word}" for word in ("cat", "dog", "house", "sleeps", "runs", "waits", "river")]
    dictionaries = folder / "dictionaries.tsv.xz"
    write_lines(dictionaries, pairs)
    base = Tokenizer.from_file(toy["tokenizer"])
    quotas = Quotas(frequent=3, untranslated=2, other=2)
    made = words_vocabulary(
        base,
        LANGUAGES,
        teacher=word_pieces(toy["teacher"]["path"]),
        dictionaries=dictionaries,
        quotas=quotas,
        forms=lambda language: [],
    )
    tokenizer, words = folder / "words" / "tokenizer.json", folder / "words" / WORDS_FILE
    tokenizer.parent.mkdir()
    save_tokenizer(made.table.tokenizer, tokenizer)
    made.table.save(words)
    write_json(words.with_name(NAMES_FILE), made.names)
    start = toy["start"] | {"way": "words"}
    data = toy["data"] | {"dictionaries": str(dictionaries)}
    return toy | {"tokenizer": str(tokenizer), "words": str(words), "data": data, "start": start}


def english_parts() -> dict[str, str]:
    """The part of every English sentence of Tatoeba, by the folded sentence."""
    return {folded(sentence("en", *pair)): part_of(sentence("en", *pair)) for pair in WAYS}
