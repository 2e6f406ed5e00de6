"""Long texts: are the entities of sentences tagged alone still there when the sentences are one text?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from distill.corpora import read_text
from distill.evaluation import Span, as_spans
from onoma.tagger import Tagger

MARKS = ".!?।॥؟۔።፧၊။…。！？｡．"
CLOSING = "\"'”’»)]}」』）〉》】"
SEPARATORS = {"space": " ", "line break": "\n"}


@dataclass(slots=True)
class Loss:
    """Entities of the sentences tagged alone, those of them that the long text lacks, and those only it has."""

    alone: int = 0
    lost: int = 0
    added: int = 0

    @property
    def share(self) -> float:
        """Lost, in percent of the entities found alone."""
        return 100 * self.lost / self.alone if self.alone else 0.0


def last_sentences(language: str, *, characters: int) -> list[str]:
    """Lines from the end of a language's unlabelled text, in order: those with a final mark.

    Of languages that hardly put one, such as Thai, all lines.
    """
    lines = list(read_text(language))
    ended = [line for line in lines if line.rstrip(CLOSING)[-1:] in MARKS]
    chosen: list[str] = []
    for line in reversed(ended if 10 * len(ended) > len(lines) else lines):
        characters -= len(line) + 1
        if characters < 0:
            break
        chosen.append(line)
    return chosen[::-1]


def join(sentences: Sequence[str], separator: str, *, characters: int) -> Iterator[tuple[str, list[int]]]:
    """Texts of at most `characters` code points (more where one sentence has more), with where each sentence starts."""
    own: list[str] = []
    starts: list[int] = []
    size = 0
    for sentence in sentences:
        if own and size + len(sentence) > characters:
            yield separator.join(own), starts
            own, starts, size = [], [], 0
        own.append(sentence)
        starts.append(size)
        size += len(sentence) + len(separator)
    if own:
        yield separator.join(own), starts


def tag_alone(tagger: Tagger, sentences: Sequence[str]) -> list[list[Span]]:
    """The entities of each sentence by itself."""
    return [as_spans(tagged) for tagged in tagger.tag_batch(sentences)]


def long_text_loss(
    tagger: Tagger, sentences: Sequence[str], found: Sequence[Sequence[Span]], separator: str, *, characters: int
) -> Loss:
    """Tag sentences joined to long texts, and compare start, end and type with what was found in each alone."""
    loss = Loss()
    spans = iter(found)
    for text, starts in join(sentences, separator, characters=characters):
        alone = {
            (start + low, start + high, label) for start in starts for low, high, label in next(spans)
        }
        together = set(as_spans(tagger.tag_batch([text])[0]))
        loss.alone += len(alone)
        loss.lost += len(alone - together)
        loss.added += len(together - alone)
    return loss


def evaluate_long_texts(
    folders: Sequence[Path],
    *,
    languages: Sequence[str],
    characters: int = 20_000,
    texts: int = 5,
    threads: int | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure bundles on `texts` long texts of each language and print a table; returns every figure.

    :raises ValueError: if there is no text of a language.
    """
    console = console or Console()
    results: dict[str, Any] = {"characters": characters, "texts": texts, "bundles": {}}
    sentences = {language: last_sentences(language, characters=characters * texts) for language in languages}
    if missing := sorted(language for language, own in sentences.items() if not own):
        raise ValueError(f"no unlabelled text in: {', '.join(missing)}")
    for folder in folders:
        tagger = Tagger.load(folder, threads=threads)
        table = Table(title=f"{folder}: entities lost in texts of {characters:,} characters")
        for column in ("language", "alone", *(f"{name}: lost, %" for name in SEPARATORS)):
            table.add_column(column, justify="left" if column == "language" else "right")
        figures: dict[str, Any] = {}
        for language, own in sentences.items():
            found = tag_alone(tagger, own)
            losses = {
                name: long_text_loss(tagger, own, found, separator, characters=characters)
                for name, separator in SEPARATORS.items()
            }
            figures[language] = {
                name: {**asdict(loss), "lost_percent": round(loss.share, 2)} for name, loss in losses.items()
            }
            counted = f"{next(iter(losses.values())).alone}"
            table.add_row(language, counted, *(f"{loss.share:.2f}" for loss in losses.values()))
        results["bundles"][str(folder)] = figures
        console.print(table)
    return results
