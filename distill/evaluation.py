"""Evaluation: strict span F1 per language, on tokens and on raw text, on all of a split and on its unseen part."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill.corpora import (
    ENTITY_TYPES,
    MASSIVE,
    WIKIANN,
    WIKIANN_45,
    Sentence,
    as_text,
    languages_of,
    read_split,
    sources,
    token_spans,
)
from onoma.tagger import Tagged, Tagger

Span = tuple[int, int, str]
Row = tuple[str, str]  # source, language
PARTS = ("all", "unseen")
COLLECTIONS = ("gold", "all")
SILVER, APART = WIKIANN, MASSIVE


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
    tagger: Tagger,
    source: str,
    language: str,
    split: str,
    *,
    raw: bool,
    limit: int | None = None,
    observe: Callable[[Sequence[Span], Sequence[Span]], None] | None = None,
    types: tuple[str, ...] = ENTITY_TYPES,
) -> LanguageScore:
    """Score one language of one source.

    :param observe: is shown the gold and the predicted spans of every sentence.
    :param types: what the tagger tags; others in the data do not count.
    """
    train = () if split == "train" else read_split(source, language, "train", types=types)
    seen = {sentence.key for sentence in train}
    score = LanguageScore()
    sentences = read_split(source, language, split, types=types)[:limit]
    for low in range(0, len(sentences), 1024):
        chunk = sentences[low : low + 1024]
        for sentence, spans in zip(chunk, predict(tagger, chunk, raw=raw), strict=True):
            gold = gold_spans(sentence, raw=raw)
            score.all.add(spans, gold)
            if sentence.key not in seen:
                score.unseen.add(spans, gold)
            if observe is not None:
                observe(gold, spans)
    read_split.cache_clear()
    return score


def summarise(scores: dict[str, LanguageScore]) -> dict[str, Any]:
    """Per-language F1, macro mean, standard deviation and worst language, whole and unseen."""
    summary: dict[str, Any] = {}
    for part in PARTS:
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


def _languages(source: str, languages: Sequence[str], split: str) -> list[str]:
    available = languages_of(source, split)
    if languages:
        return [language for language in languages if language in available]
    if source != SILVER:
        return available
    if missing := sorted(set(WIKIANN_45) - set(available)):
        raise ValueError(f"{source} has no {split} split in: {', '.join(missing)}")
    return list(WIKIANN_45)


def groups_of(source: str, languages: Sequence[str], split: str) -> dict[str, dict[str, Row]]:
    """What to score, as rows in groups, each of which gets a macro mean of its own: {group: {row name: row}}.

    One source is one group, its rows named by language. "gold" is every labelled source except wikiann that has the
    split: the group gold, its rows named like `nchlt/af`, and the group massive_ner, because its 52 locales of the
    same slot-mapped voice commands would drown the others in one mean. "all" is wikiann and then those.
    Of the gold sources kaznerd, estner_new and uner_ndt have no training split: a model learned nothing of them.

    :param languages: empty for all of a source (of wikiann: the 45 with at least 1,000 training sentences).
    :raises ValueError: if there is no row, or one of `languages` has none.
    """
    if source in COLLECTIONS:
        gold = [name for name in sources() if name not in (SILVER, APART)]
        chosen = [*([SILVER] if source == "all" else []), *gold, APART]
    else:
        gold, chosen = [], [source]
    groups: dict[str, dict[str, Row]] = {}
    for name in chosen:
        for language in _languages(name, languages, split):
            group, row = ("gold", f"{name}/{language}") if name in gold else (name, language)
            groups.setdefault(group, {})[row] = (name, language)
    found = {language for rows in groups.values() for _, language in rows.values()}
    if unknown := sorted(set(languages) - found):
        raise ValueError(f"{source} has no {split} split in: {', '.join(unknown)}")
    if not groups:
        raise ValueError(f"{source} has no {split} split")
    return groups


def retention(figures: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a model keeps of a reference's F1, in percent: of the macro mean, and in the row that keeps least.

    Rows in which the reference has an F1 of 0 say nothing and are left out; None if its macro mean is 0.

    :param figures: one part of what `summarise` returned; `reference` likewise, of the same rows.
    """
    if not reference["macro_f1"]:
        return None
    kept = {row: 100 * figures["f1"][row] / f1 for row, f1 in reference["f1"].items() if f1}
    least = min(kept, key=lambda row: kept[row])
    macro = 100 * figures["macro_f1"] / reference["macro_f1"]
    return {"macro": round(macro, 2), "least": [least, round(kept[least], 2)]}


def evaluate_rows(
    tagger: Tagger,
    rows: Mapping[str, Row],
    *,
    split: str,
    raw: bool,
    limit: int | None = None,
    progress: Callable[[str, LanguageScore], None] | None = None,
) -> dict[str, Any]:
    """Score a tagger on named rows; see `summarise` for what comes out.

    :param limit: first sentences of each row only.
    :param progress: called with the name and the score of each row that is done.
    """
    scores = {}
    for name, (source, language) in rows.items():
        scores[name] = evaluate_language(tagger, source, language, split, raw=raw, limit=limit)
        if progress is not None:
            progress(name, scores[name])
    return summarise(scores)


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
    """Score a tagger on one source, a row a language; see `evaluate_rows`."""
    rows = {language: (source, language) for language in languages}
    return evaluate_rows(tagger, rows, split=split, raw=raw, limit=limit, progress=progress)
