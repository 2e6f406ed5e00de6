"""Evaluation: strict span F1 per language, on tokens and on raw text, on all of a split and on its unseen part."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill.corpora import Sentence, as_text, read_split, token_spans
from onoma.tagger import Tagged, Tagger

Span = tuple[int, int, str]


@dataclass(slots=True)
class Counts:
    """Spans right, predicted and in the gold standard."""

    right: int = 0
    predicted: int = 0
    gold: int = 0

    def add(self, predicted: Iterable[Span], gold: Iterable[Span]) -> None:
        """Count one sentence; a span is right if start, end and type all agree."""
        ours, theirs = set(predicted), set(gold)
        self.right += len(ours & theirs)
        self.predicted += len(ours)
        self.gold += len(theirs)

    @property
    def precision(self) -> float:
        """Share of the predicted spans that are right, in percent."""
        return 100 * self.right / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of the gold spans that were found, in percent."""
        return 100 * self.right / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Micro F1 of the spans, in percent."""
        total = self.predicted + self.gold
        return 200 * self.right / total if total else 0.0


@dataclass(slots=True)
class LanguageScore:
    """Counts of one language: the whole split, and the sentences that do not stand in train."""

    all: Counts = field(default_factory=Counts)
    unseen: Counts = field(default_factory=Counts)


def gold_spans(sentence: Sentence, *, raw: bool) -> list[Span]:
    """Gold entities: character spans of the raw text, or token spans."""
    return as_text(sentence, raw=True)[1] if raw else token_spans(sentence.tags)


def as_spans(tagged: Tagged) -> list[Span]:
    """The entities of a text as comparable spans."""
    return [(entity.start, entity.end, entity.label) for entity in tagged.entities]


def predict(tagger: Tagger, sentences: Sequence[Sentence], *, raw: bool) -> list[list[Span]]:
    """Spans the tagger finds, through the same code as a request."""
    if raw:
        tagged = tagger.tag_batch([as_text(sentence, raw=True)[0] for sentence in sentences])
    else:
        tagged = tagger.tag_tokens([sentence.tokens for sentence in sentences])
    return [as_spans(one) for one in tagged]


def evaluate_language(
    tagger: Tagger, source: str, language: str, split: str, *, raw: bool, limit: int | None = None
) -> LanguageScore:
    """Score one language of one source."""
    seen = {sentence.key for sentence in read_split(source, language, "train")} if split != "train" else set()
    score = LanguageScore()
    sentences = read_split(source, language, split)[:limit]
    for low in range(0, len(sentences), 1024):
        chunk = sentences[low : low + 1024]
        for sentence, spans in zip(chunk, predict(tagger, chunk, raw=raw), strict=True):
            gold = gold_spans(sentence, raw=raw)
            score.all.add(spans, gold)
            if sentence.key not in seen:
                score.unseen.add(spans, gold)
    read_split.cache_clear()
    return score


def summarise(scores: dict[str, LanguageScore]) -> dict[str, Any]:
    """Per-language F1, macro mean, standard deviation and worst language, whole and unseen."""
    summary: dict[str, Any] = {}
    for part in ("all", "unseen"):
        f1 = {language: round(getattr(score, part).f1, 2) for language, score in scores.items()}
        counted = {language: value for language, value in f1.items() if getattr(scores[language], part).gold}
        worst = min(counted, key=lambda name: counted[name]) if counted else None
        summary[part] = {
            "macro_f1": round(statistics.fmean(counted.values()), 2) if counted else 0.0,
            "std": round(statistics.pstdev(counted.values()), 2) if counted else 0.0,
            "worst": [worst, counted[worst]] if worst else None,
            "f1": f1,
        }
    return summary


def evaluate(
    tagger: Tagger,
    *,
    source: str,
    languages: Sequence[str],
    split: str,
    raw: bool,
    limit: int | None = None,
    progress: Callable[[str, LanguageScore], None] | None = None,
) -> dict[str, Any]:
    """Score a tagger on one source; see `summarise` for what comes out."""
    scores = {}
    for language in languages:
        scores[language] = evaluate_language(tagger, source, language, split, raw=raw, limit=limit)
        if progress is not None:
            progress(language, scores[language])
    return summarise(scores)
