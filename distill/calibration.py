"""Calibration on dev: the temperature of the probabilities, the meaning of the confidence, the fallback threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.corpora import WIKIANN_45, as_text, read_split
from distill.dataset import segment_tags
from distill.evaluation import Counts, Span, as_spans
from onoma.bundle import Calibration
from onoma.decode import Decoder, build_decoder, illegal
from onoma.labels import LabelSet
from onoma.tagger import Tagger
from onoma.words import Words

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """One dev sentence: raw confidence, predicted and gold spans, language."""

    raw: float
    predicted: tuple[Span, ...]
    gold: tuple[Span, ...]
    language: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """Sentences of N pieces, one behind the other, with the tags that they should have.

    :param logits: (N, C); `tags` (N,) are columns.
    """

    logits: NDArray[np.float32]
    tags: NDArray[np.int64]
    words: Words


def loss(pieces: Labelled, decoder: Decoder) -> float:
    """Mean negative log likelihood of the tags, each piece for itself: a CRF's are its marginals."""
    logs = decoder.log_probabilities(pieces.logits, pieces.words)
    return float(-logs[np.arange(len(logs)), pieces.tags].mean())


def fit_temperature(loss_at: Callable[[float], float]) -> float:
    """Temperature in 0.25..4 of least loss (Guo et al. 2017), by golden section."""
    low, high = math.log(0.25), math.log(4.0)
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss_at(math.exp(left)), loss_at(math.exp(right))
    for _ in range(24):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss_at(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss_at(math.exp(right))
    return math.exp((low + high) / 2)


def isotonic(raw: Floats, right: Floats, *, points: int = 24) -> tuple[tuple[float, float], ...]:
    """Monotone (raw, share right) points: equal-count bins, then pool adjacent violators (Zadrozny & Elkan 2002)."""
    order = np.argsort(raw, kind="stable")
    blocks: list[tuple[float, float, int]] = []
    for part in np.array_split(order, min(points, len(order))):
        blocks.append((float(raw[part].mean()), float(right[part].mean()), len(part)))
        while len(blocks) > 1 and blocks[-2][1] > blocks[-1][1]:
            (raw_a, share_a, count_a), (raw_b, share_b, count_b) = blocks[-2:]
            total = count_a + count_b
            raw_mean = (raw_a * count_a + raw_b * count_b) / total
            share_mean = (share_a * count_a + share_b * count_b) / total
            blocks[-2:] = [(raw_mean, share_mean, total)]
    return tuple((round(at, 6), round(share, 6)) for at, share, _ in blocks)


def _dev_pieces(tagger: Tagger, languages: Sequence[str], limit: int) -> Labelled:
    logits, tags, continues = [], [], []
    for language in languages:
        for sentence in read_split("wikiann", language, "dev")[:limit]:
            text, entities = as_text(sentence, raw=True)
            encoded = tagger.encode([text])[0]
            rows = tagger.infer(encoded.inputs)
            at = 0
            for segment in encoded.segments:
                if len(segment.windows) == 1:
                    logits.append(rows[at])
                    tags.append(segment_tags(segment, entities).astype(np.int64))
                    continues.append(segment.continues)
                at += len(segment.windows)
    begins = np.cumsum([0, *map(len, tags[:-1])])
    return Labelled(np.concatenate(logits), np.concatenate(tags), Words(np.concatenate(continues), begins))


def possible(pieces: Labelled, labels: LabelSet) -> Labelled:
    """The sentences whose tags are legal: a CRF gives the others no probability at any temperature.

    Illegal are entities that begin or end inside a word.
    """
    wrong = illegal(pieces.tags, pieces.words, labels)
    if wrong is None:
        return pieces
    kept, words = pieces.words.only(~wrong)
    return Labelled(pieces.logits[kept], pieces.tags[kept], words)


def _score(tagger: Tagger, languages: Sequence[str], limit: int) -> list[Scored]:
    scored = []
    for language in languages:
        examples = [as_text(sentence, raw=True) for sentence in read_split("wikiann", language, "dev")[:limit]]
        tagged = tagger.tag_batch([text for text, _ in examples])
        for (_, gold), one in zip(examples, tagged, strict=True):
            scored.append(Scored(one.confidence, tuple(as_spans(one)), tuple(gold), language))
    return scored


def calibrate(tagger: Tagger, *, limit: int = 400, languages: Sequence[str] = WIKIANN_45) -> Calibration:
    """Temperature and confidence points from the first `limit` dev sentences of each language; no threshold yet."""
    labels, transitions = tagger.labels, tagger.transitions
    pieces = _dev_pieces(tagger, languages, min(limit, 200))
    if transitions is not None:
        pieces = possible(pieces, labels)

    def loss_at(temperature: float) -> float:
        return loss(pieces, build_decoder(labels, transitions=transitions, temperature=temperature))

    temperature = round(fit_temperature(loss_at), 4)
    tagger.calibration = Calibration(temperature=temperature)
    scored = _score(tagger, languages, limit)
    right = np.array([set(one.predicted) == set(one.gold) for one in scored], dtype=np.float64)
    points = isotonic(np.array([one.raw for one in scored]), right)
    return Calibration(temperature=temperature, confidence=points)


@dataclass(frozen=True, slots=True)
class CascadePoint:
    """What a threshold gives on dev: share of sentences that the teacher answers, macro F1 of the cascade."""

    threshold: float
    fallback_share: float
    macro_f1: float


def cascade_curve(
    student: Tagger, teacher: Tagger, *, limit: int = 200, languages: Sequence[str] = WIKIANN_45
) -> list[CascadePoint]:
    """Macro F1 on dev against the share of sentences handed to the teacher, for thresholds at every 5 % of them."""
    ours = _score(student, languages, limit)
    theirs = _score(teacher, languages, limit)
    thresholds = sorted({0.0, *np.quantile([one.raw for one in ours], np.linspace(0.05, 1.0, 20)).tolist()})
    curve = []
    for threshold in thresholds:
        counts = {language: Counts() for language in languages}
        handed = 0
        for mine, other in zip(ours, theirs, strict=True):
            fallback = mine.raw < threshold
            handed += fallback
            counts[mine.language].add((other if fallback else mine).predicted, mine.gold)
        macro = float(np.mean([count.f1 for count in counts.values()]))
        curve.append(CascadePoint(round(threshold, 6), round(handed / len(ours), 4), round(macro, 3)))
    return curve


def choose_threshold(
    curve: Sequence[CascadePoint], *, most_fallback: float, tolerance: float = 0.1
) -> CascadePoint:
    """The point that hands least to the teacher and is within `tolerance` of the best F1.

    Looked for among those that hand over at most `most_fallback` of the sentences: the teacher's time is what it costs.
    """
    allowed = [point for point in curve if point.fallback_share <= most_fallback]
    best = max(point.macro_f1 for point in allowed)
    return min((point for point in allowed if point.macro_f1 >= best - tolerance), key=lambda p: p.fallback_share)


def calibrate_bundles(
    student: Path, teacher: Path | None, *, limit: int, most_fallback: float, languages: Sequence[str] = WIKIANN_45
) -> dict[str, Any]:
    """Calibrate a student's bundle, and its fallback threshold if a teacher's is given, on WikiANN-45 dev.

    Returns `calibration` (for `onoma export update`), the reliability points and the cascade curve.
    """
    tagger = Tagger.load(student)
    calibration = calibrate(tagger, limit=limit, languages=languages)
    report: dict[str, Any] = {"split": "wikiann dev", "sentences_per_language": limit, "curve": []}
    if teacher is not None:
        tagger.calibration = calibration
        curve = cascade_curve(tagger, Tagger.load(teacher), limit=limit // 2, languages=languages)
        chosen = choose_threshold(curve, most_fallback=most_fallback)
        calibration = calibration.model_copy(update={"fallback_threshold": chosen.threshold})
        report["curve"] = [asdict(point) for point in curve]
        report["chosen"] = asdict(chosen)
    report["calibration"] = calibration.model_dump(mode="json")
    return report
