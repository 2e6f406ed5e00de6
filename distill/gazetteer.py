"""Lists of names that join mention replacement: `LABEL<TAB>name` lines of a person's own, or of listed companies.

Wikipedia, hence WikiANN, speaks of clubs, bands and schools far more than of companies; business text does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from distill.corpora import ENTITY_TYPES
from distill.dataset import Packed, pack
from distill.files import write_text
from onoma.labels import LabelSet


def company_names() -> list[tuple[str, str]]:
    """(ORG, name) of the companies in 20 stock indices (pytickersymbols, MIT), also without their legal form."""
    from cleanco import basename
    from pytickersymbols import PyTickerSymbols

    names = {stock["name"].strip() for stock in PyTickerSymbols().get_all_stocks()}
    return [("ORG", name) for name in sorted(names | {basename(name) for name in names}) if len(name) > 1]


def write_gazetteer(path: Path, names: list[tuple[str, str]]) -> None:
    """Write `LABEL<TAB>name` lines, whole or not at all."""
    write_text(path, "".join(f"{label}\t{name}\n" for label, name in names))


def read_gazetteer(path: Path, *, types: Sequence[str] = ENTITY_TYPES) -> list[tuple[str, str]]:
    """(label, name) of each line.

    :raises ValueError: for a line without a label of `types`, a tab and a name; says which.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        label, _, name = line.partition("\t")
        if label not in types or not name.strip():
            wanted = ", ".join(sorted(types))
            raise ValueError(f"{path} line {number}: want one of {wanted}, a tab and a name, got {line!r}")
        found.append((label, name.strip()))
    return found


def packed_gazetteer(path: Path, *, tokenizer_path: Path, types: Sequence[str] = ENTITY_TYPES) -> Packed:
    """The names as examples that are one entity each."""
    names = read_gazetteer(path, types=types)
    texts = ((name, [(0, len(name), label)]) for label, name in names)
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    return pack(texts, tokenizer=tokenizer, language="gazetteer", labels=LabelSet.of_types(types))
