"""The fallback threshold: what each gives and costs on dev, and which one to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill.dev_examples import Scored
from distill.evaluation import Counts


@dataclass(frozen=True, slots=True)
class CascadePoint:
    """What a threshold gives on dev.

    :param fallback_share: share of the sentences that the teacher answers; `character_share` of their characters.
    :param macro_f1: of the cascade, in percent.
    :param milliseconds: mean time of a sentence tagged alone; where the teacher is asked, by both.
    """

    threshold: float
    fallback_share: float
    character_share: float
    macro_f1: float
    milliseconds: float


def cascade_curve(student: Sequence[Scored], teacher: Sequence[Scored]) -> list[CascadePoint]:
    """The points of thresholds that hand over none of the sentences, 5 % of them, 10 %, and so on.

    :param student: the calibrated student's answers; `teacher`: the teacher's to the same sentences, in order.
    """
    steps = np.quantile([one.confidence for one in student], np.linspace(0.05, 1.0, 20))
    thresholds = sorted({0.0, *np.round(steps, 6).tolist()})
    return [_point(student, teacher, threshold) for threshold in thresholds]


def _point(student: Sequence[Scored], teacher: Sequence[Scored], threshold: float) -> CascadePoint:
    handed = np.array([one.confidence < threshold for one in student])
    answers = [theirs if given else ours for ours, theirs, given in zip(student, teacher, handed, strict=True)]
    characters = np.array([len(one.example.encoded.text) for one in student])
    seconds = np.array([one.example.seconds for one in student])
    seconds += handed * np.array([one.example.seconds for one in teacher])
    return CascadePoint(
        threshold=threshold,
        fallback_share=round(float(handed.mean()), 4),
        character_share=round(float((handed * characters).sum() / characters.sum()), 4),
        macro_f1=round(macro_f1(answers), 3),
        milliseconds=round(1000 * float(seconds.mean()), 3),
    )


def macro_f1(answers: Sequence[Scored]) -> float:
    """Mean over languages of the strict span F1, in percent."""
    counts: dict[str, Counts] = {}
    for one in answers:
        counts.setdefault(one.example.language, Counts()).add(one.predicted, one.example.gold)
    return float(np.mean([count.f1 for count in counts.values()]))


def choose_threshold(curve: Sequence[CascadePoint], *, most_fallback: float, tolerance: float = 0.1) -> CascadePoint:
    """The point that hands least to the teacher and is within `tolerance` of the best F1.

    Looked for among those that hand over at most `most_fallback` of the sentences: the teacher's time is what it costs.
    """
    allowed = [point for point in curve if point.fallback_share <= most_fallback]
    best = max(point.macro_f1 for point in allowed)
    return min((point for point in allowed if point.macro_f1 >= best - tolerance), key=lambda p: p.fallback_share)
