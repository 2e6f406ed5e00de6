"""Calibration on dev: the temperature of the probabilities, the meaning of the confidence, the fallback threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.corpora import WIKIANN_45
from distill.dataset import segment_tags
from distill.dev_examples import Example, Scored, dev_halves, score, tag_examples
from distill.reliability import expected_error, reliability
from distill.threshold import cascade_curve, choose_threshold, macro_f1
from onoma.bundle import Calibration
from onoma.decode import Decoder, build_decoder, illegal
from onoma.labels import LabelSet
from onoma.machine import processor
from onoma.model import available_cores
from onoma.tagger import Tagger
from onoma.words import Words

Floats = NDArray[np.float64]


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


def _pieces(examples: Sequence[Example]) -> Labelled:
    """The pieces of the sentences that fit a window, as they should be tagged."""
    logits, tags, continues = [], [], []
    for example in examples:
        at = 0
        for segment in example.encoded.segments:
            if len(segment.windows) == 1:
                logits.append(example.emissions[at])
                tags.append(segment_tags(segment, list(example.gold)).astype(np.int64))
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


def calibrate(tagger: Tagger, examples: Sequence[Example]) -> Calibration:
    """Temperature and confidence points that fit examples of this tagger, which keeps them; no threshold yet."""
    labels, transitions = tagger.labels, tagger.transitions
    pieces = _pieces(examples)
    if transitions is not None:
        pieces = possible(pieces, labels)

    def loss_at(temperature: float) -> float:
        return loss(pieces, build_decoder(labels, transitions=transitions, temperature=temperature))

    temperature = round(fit_temperature(loss_at), 4)
    tagger.calibration = Calibration(temperature=temperature)
    scored = score(tagger, examples)
    right = np.array([one.right for one in scored], dtype=np.float64)
    points = isotonic(np.array([one.confidence for one in scored]), right)
    tagger.calibration = Calibration(temperature=temperature, confidence=points)
    return tagger.calibration


def _worth(scored: Sequence[Scored]) -> dict[str, Any]:
    bins = reliability(scored)
    return {"expected_error": round(expected_error(bins), 4), "bins": [asdict(one) for one in bins]}


def _alone(scored: Sequence[Scored]) -> dict[str, float]:
    seconds = float(np.mean([one.example.seconds for one in scored]))
    return {"macro_f1": round(macro_f1(scored), 3), "milliseconds": round(1000 * seconds, 3)}


def calibrate_bundles(
    student: Path,
    teacher: Path | None,
    *,
    limit: int,
    most_fallback: float,
    languages: Sequence[str] = WIKIANN_45,
    threads: int | None = None,
) -> dict[str, Any]:
    """Calibrate a student's bundle, and its fallback threshold if a teacher's is given, on WikiANN-45 dev.

    One half of the sentences is fitted; the reliability, the threshold and every other figure come from the other.

    :param threads: onnxruntime threads; None for all available cores.
    :return: `calibration` (for `onoma export update`), `reliability` before and after it, `alone` with the F1 and the
        latency of each model, the cascade's `curve` and its `chosen` point, and what they were measured on.
    """
    to_fit, to_measure = dev_halves(limit=limit, languages=languages)
    tagger = Tagger.load(student, threads=threads)
    tagger.calibration = Calibration()
    measured = tag_examples(tagger, to_measure)
    before = _worth(score(tagger, measured))
    calibration = calibrate(tagger, tag_examples(tagger, to_fit))
    ours = score(tagger, measured)
    report: dict[str, Any] = {
        "student": str(student),
        "teacher": None if teacher is None else str(teacher),
        "split": "wikiann dev",
        "languages": list(languages),
        "sentences_per_language": limit,
        "most_fallback": most_fallback,
        "sentences": {"fitted": len(to_fit), "measured": len(to_measure)},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{processor()}, {threads or available_cores()} threads",
        "reliability": {"before": before, "after": _worth(ours)},
        "alone": {"student": _alone(ours)},
        "curve": [],
    }
    if teacher is not None:
        helper = Tagger.load(teacher, threads=threads)
        theirs = score(helper, tag_examples(helper, to_measure))
        curve = cascade_curve(ours, theirs)
        chosen = choose_threshold(curve, most_fallback=most_fallback)
        calibration = calibration.model_copy(update={"fallback_threshold": chosen.threshold})
        report["alone"]["teacher"] = _alone(theirs)
        report["curve"] = [asdict(point) for point in curve]
        report["chosen"] = asdict(chosen)
    report["calibration"] = calibration.model_dump(mode="json")
    return report
