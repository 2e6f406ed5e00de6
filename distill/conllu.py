"""Universal Dependencies as training data: CoNLL-U files to the tab-separated splits that distill.corpora reads."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path

COLUMNS = {"upos": 3, "xpos": 4}


def tagged_words(
    lines: Iterable[str], *, column: str = "upos", where: str = "CoNLL-U"
) -> Iterator[list[tuple[str, str]]]:
    """(word, tag) of each sentence; lines of multi-word tokens (1-2) and of empty nodes (1.1) say nothing new.

    Words lose the spaces inside them, and those without a tag (`_`) are left out.

    :raises ValueError: for a line without ten columns; says which.
    """
    words: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            if words:
                yield words
            words = []
        elif not line.startswith("#"):
            cells = line.split("\t")
            if len(cells) != 10:
                raise ValueError(f"{where} line {number}: 10 columns are needed, got {len(cells)}: {line[:60]!r}")
            tag, word = cells[COLUMNS[column]], "".join(cells[1].split())
            if cells[0].isdigit() and tag != "_" and word:
                words.append((word, tag))
    if words:
        yield words


def convert(source: Path, out: Path, *, column: str = "upos") -> tuple[int, list[str]]:
    """Write `word<TAB>B-TAG` lines, xz-compressed, whole or not at all.

    :return: how many sentences, and the tags, sorted: what `labels.types` of a recipe names.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(out.name + ".tmp")
    count, tags = 0, set()
    with source.open(encoding="utf-8", newline="\n") as lines, lzma.open(temporary, "wt", encoding="utf-8") as file:
        for words in tagged_words(lines, column=column, where=str(source)):
            file.writelines(f"{word}\tB-{tag}\n" for word, tag in words)
            file.write("\n")
            count += 1
            tags |= {tag for _, tag in words}
    temporary.replace(out)
    return count, sorted(tags)
